"""`python -m tunebridge_gradient.emulated_worker FOLDER`: the worker of a rehearsal, with the emulator beside it.

The process that submitted the job may be gone, and its emulator with it; the workspace lies in a folder, so the worker
serves it itself. Which folder stands in a file beside the worker's task.
"""

import json
import sys
from pathlib import Path

from tunebridge_gradient import client, worker
from tunebridge_gradient.emulator import WORKSPACE, Emulator

PLACE_FILE = "emulator.json"


def main(folder: Path) -> None:
    """Work against the emulator's folder."""
    emulator = Emulator(Path(json.loads((folder / PLACE_FILE).read_bytes())))
    with emulator.wire:
        timeout = json.loads((folder / worker.TASK_FILE).read_bytes())["timeout_seconds"]
        access = client.Access(emulator.host, emulator.token, WORKSPACE)
        worker.work(folder, client.Remote(access, timeout_seconds=timeout).fine_tune)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
