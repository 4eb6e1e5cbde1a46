"""`python -m tunebridge_huggingface.emulated_machine FOLDER`: a machine with the hub beside it while it works.

The account's folder is two levels above the machine's own.
"""

import sys
from pathlib import Path

from tunebridge.testing import machine
from tunebridge_huggingface.emulator import Emulator


def main(folder: Path) -> None:
    """Run a job's command with the account's token, which is never written beside the job."""
    emulator = Emulator(folder.parents[1])
    with emulator.wire:
        machine.work(
            folder, {"HF_TOKEN": emulator.token, "HF_ENDPOINT": emulator.wire.url, "HF_HOME": str(folder / "hub")}
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
