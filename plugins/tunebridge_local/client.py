"""Starting, stopping and asking the trainer's process; psutil is imported inside the functions."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from tunebridge.training.config import LOG_FILE, RUN_FILE

LAUNCH_FILE = "launch.json"
GPU_SECONDS = 10.0
GPU_NAME = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
PROCESS_FILE = "process.json"

_children: dict[int, subprocess.Popen[bytes]] = {}
"""Trainers that this very process started; asking one whether it has ended also lets the system forget it."""


def start(run_folder: Path) -> None:
    """Start the trainer on a run folder, in a session of its own, so that closing the terminal does not stop it."""
    command = [sys.executable, "-m", "tunebridge.training", str(run_folder)]
    with _open_log(run_folder / LOG_FILE) as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=run_folder, start_new_session=True
        )
    _children[process.pid] = process
    write_private(run_folder / LAUNCH_FILE, json.dumps({"pid": process.pid, "created": _created(process.pid)}))


def is_alive(run_folder: Path) -> bool:
    """Whether the trainer's process runs; a process id that was given to another process does not count."""
    return any(_is_running(pid, created) for pid, created in _known_processes(run_folder))


def stop(run_folder: Path, *, force: bool = False) -> None:
    """Ask the trainer and its children to stop (SIGTERM), or end them at once (`force`: SIGKILL)."""
    for pid, created in _known_processes(run_folder):
        if _is_running(pid, created):
            os.killpg(os.getpgid(pid), signal.SIGKILL if force else signal.SIGTERM)


def run_program(name: str, arguments: list[str], log: Path) -> None:
    """Run one of the trainer's programs, such as `export`, to its end; CalledProcessError when it fails."""
    with _open_log(log) as file:
        subprocess.run(
            [sys.executable, "-m", f"tunebridge.training.{name}", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            check=True,
        )


def try_out(run_folder: Path, seconds: float) -> None:
    """Train in a run folder for so long at most; what it said so far stays, however it ended."""
    command = [sys.executable, "-m", "tunebridge.training", str(run_folder)]
    with _open_log(run_folder / LOG_FILE) as log, suppress(subprocess.TimeoutExpired):
        subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=run_folder, timeout=seconds, check=False
        )


def gpu_name() -> str | None:
    """Return the name of this machine's first NVIDIA GPU as its driver tells it, None where there is none."""
    try:
        said = subprocess.check_output(GPU_NAME, stderr=subprocess.DEVNULL, text=True, timeout=GPU_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return None
    return said.partition("\n")[0].strip() or None


def write_private(path: Path, text: str) -> None:
    """Write a small file in one step, readable by the owner only."""
    partial = path.with_name(path.name + ".partial")
    with os.fdopen(os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def was_started(run_folder: Path) -> bool:
    """Whether a trainer was started on this folder."""
    return (run_folder / RUN_FILE).exists() and any(_known_processes(run_folder))


def _open_log(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), "ab")


def _known_processes(run_folder: Path) -> Iterator[tuple[int, float]]:
    """Yield (process id, latest time at which it can have been created) as launcher and trainer wrote them."""
    for name, key in ((LAUNCH_FILE, "created"), (PROCESS_FILE, "started_at")):
        try:
            record = json.loads((run_folder / name).read_text())
            yield int(record["pid"]), _seconds(record[key])
        except (FileNotFoundError, ValueError, KeyError):
            continue


def _seconds(value: float | str) -> float:
    return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else float(value)


def _created(pid: int) -> float:
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return 0.0


def _is_running(pid: int, latest: float) -> bool:
    import psutil

    if pid in _children:
        return _children[pid].poll() is None
    try:
        process = psutil.Process(pid)
        # A clock tick of slack: the kernel counts a process's start in hundredths of a second.
        return process.create_time() <= latest + 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
