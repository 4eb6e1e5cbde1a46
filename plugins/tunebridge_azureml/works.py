"""The machines behind the emulator: started as processes of their own, looked at and stopped by folder."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tunebridge_azureml.machine import JOB_FILE, STATE_FILE

PROCESS_FILE = "process.json"
ENDED = ("Completed", "Failed", "Canceled")
_children: dict[int, subprocess.Popen[bytes]] = {}
"""Machines that this very process started; asking one whether it has ended also lets the system forget it."""


class Seen(NamedTuple):
    """What a machine has written of itself."""

    word: str
    started: float | None = None
    ended: float | None = None
    code: int | None = None


def start(folder: Path, job: Mapping[str, Any]) -> None:
    """Start a machine, in a session of its own, so that it outlives the process that asked for it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / JOB_FILE).write_text(json.dumps(dict(job)))
    with (folder / "machine.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tunebridge_azureml.machine", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _children[process.pid] = process
    (folder / PROCESS_FILE).write_text(json.dumps({"pid": process.pid}))


def look(folder: Path) -> Seen:
    """Return a machine's state; one whose process is gone without a last word has failed."""
    alive = _is_alive(folder)  # before reading: what it wrote last is then surely read
    try:
        state = json.loads((folder / STATE_FILE).read_text())
    except FileNotFoundError:
        return Seen("Starting") if alive else Seen("Failed")
    seen = Seen(state["word"], state.get("started"), state.get("ended"), state.get("code"))
    return seen if alive or seen.word in ENDED else seen._replace(word="Failed")


def stop(folder: Path, *, kill: bool = False) -> None:
    """Ask a machine to stop its job, or take the machine away (`kill`)."""
    if _is_alive(folder):
        pid = _pid(folder)
        os.killpg(pid, signal.SIGKILL) if kill else os.kill(pid, signal.SIGTERM)


def _pid(folder: Path) -> int:
    return int(json.loads((folder / PROCESS_FILE).read_text())["pid"])


def _is_alive(folder: Path) -> bool:
    """Whether the machine's process runs; one that got its number later works on another folder."""
    import psutil

    try:
        pid = _pid(folder)
        if pid in _children:
            return _children[pid].poll() is None
        process = psutil.Process(pid)
        return str(folder) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    except (FileNotFoundError, psutil.NoSuchProcess, psutil.AccessDenied):
        return False
