"""Several processes that do the same thing at the same moment."""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PRELUDE = """
import os, sys, time
from pathlib import Path
from tests.fakes import fake_client
folder = Path(sys.argv[1])
(folder / f"ready-{os.getpid()}").touch()
while not (folder / "go").exists():
    time.sleep(0.001)
"""


def run_at_once(code: str, folder: Path, *, processes: int) -> list[str]:
    """Run code, which finds `folder` and `fake_client`, in several processes at once; return what each printed."""
    command = [sys.executable, "-c", PRELUDE + code, str(folder)]
    started = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    while len(list(folder.glob("ready-*"))) < processes and all(process.poll() is None for process in started):
        time.sleep(0.01)
    (folder / "go").touch()
    ended = [(*process.communicate(timeout=120), process.returncode) for process in started]
    assert all(code == 0 for *_, code in ended), [error for _, error, _ in ended]
    return [out.strip() for out, *_ in ended]
