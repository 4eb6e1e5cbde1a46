"""A rented machine behind an emulator: a detached process that runs a vendor's command where its paths are real.

`launch` starts it on a folder, any process may look at it, and it leaves what it did: stamped lines of its log and how
it ended. Absolute paths of the vendor, such as where a volume is mounted, are replaced by folders of this machine.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from tunebridge.spec import SpecModel

TASK_FILE, END_FILE, LOG_FILE, LOCK_FILE, STOP_FILE = "task.json", "end.json", "log.jsonl", "machine.lock", "stop"
LAUNCH_SECONDS = 60.0
"""Time within which a launched process takes its lock."""
GRACE_SECONDS = 20.0
"""Time between SIGTERM and SIGKILL."""
LOOK_SECONDS = 0.05

_children: "list[subprocess.Popen[bytes]]" = []
"""Machines that this very process launched; asking one whether it has ended lets the system forget it."""


class Task(SpecModel):
    """What a machine is to run."""

    command: tuple[str, ...]
    environment: dict[str, str] = {}
    mounts: dict[str, str] = {}
    """The vendor's absolute path -> folder of this machine."""
    timeout_seconds: float | None = None
    launched_at: float = 0.0

    def here(self, text: str) -> str:
        """Return a text with the vendor's paths replaced by real ones."""
        for path, folder in self.mounts.items():
            text = text.replace(path, folder)
        return text


class End(SpecModel):
    """How a command ended."""

    code: int
    at: float
    """Seconds since the epoch."""
    timed_out: bool = False
    stopped: bool = False
    """Whether it was asked to stop."""


def launch(folder: Path, task: Task, *, module: str = "tunebridge.testing.machine") -> None:
    """Start a machine on a folder of its own; `module` is run as `python -m MODULE FOLDER` and calls `work`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(folder / TASK_FILE, task.model_copy(update={"launched_at": time.time()}).model_dump_json())
    with open(folder / "machine.err", "ab", opener=_private) as err:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=err,
            start_new_session=True,
        )
    _children[:] = [*(child for child in _children if child.poll() is None), process]


def ended(folder: Path) -> End | None:
    """Return how the command ended, None while it may still run; a machine that was killed ended with code -9."""
    if not _has_end(folder) and not _is_up(folder) and not _has_end(folder):  # it may have ended between the two
        _write(folder / END_FILE, End(code=-9, at=time.time()).model_dump_json())
    return End.model_validate_json((folder / END_FILE).read_bytes()) if _has_end(folder) else None


def stop(folder: Path) -> None:
    """Ask the command to end: SIGTERM, later SIGKILL."""
    (folder / STOP_FILE).touch(mode=0o600)


def log(folder: Path) -> list[dict[str, Any]]:
    """Return what the command said so far: `{"at", "line"}`, whole lines only."""
    with suppress(FileNotFoundError):
        text = (folder / LOG_FILE).read_bytes()
        return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].split(b"\n") if line]
    return []


def work(folder: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run the task of a folder to its end, with `environment` beside the task's own; called in the machine itself."""
    task = Task.model_validate_json((folder / TASK_FILE).read_bytes())
    with filelock.FileLock(folder / LOCK_FILE):
        started = time.monotonic()
        with (folder / "out").open("wb") as out:
            process = subprocess.Popen(
                [task.here(part) for part in task.command],
                cwd=folder,
                env={**_bare(folder), **{k: task.here(v) for k, v in task.environment.items()}, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        timed_out = _attend(folder, process, started + (task.timeout_seconds or float("inf")))
        stopped = (folder / STOP_FILE).exists()
        _write(
            folder / END_FILE,
            End(code=process.returncode, at=time.time(), timed_out=timed_out, stopped=stopped).model_dump_json(),
        )


def _attend(folder: Path, process: "subprocess.Popen[bytes]", deadline: float) -> bool:
    """Stamp the command's lines until it ends, and end it when asked; whether its time was over."""
    told, until_kill, timed_out = 0, None, False
    while process.poll() is None:
        told = _stamp(folder, told)
        timed_out = timed_out or time.monotonic() > deadline
        if until_kill is None and (timed_out or (folder / STOP_FILE).exists()):
            os.killpg(process.pid, signal.SIGTERM)
            until_kill = time.monotonic() + GRACE_SECONDS
        if until_kill is not None and time.monotonic() > until_kill:
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(LOOK_SECONDS)
    _stamp(folder, told)
    return timed_out


def _stamp(folder: Path, start: int) -> int:
    """Move whole lines behind a byte of the output into the log, and return the byte after them."""
    with (folder / "out").open("rb") as out:
        out.seek(start)
        text = out.read()
    whole = text[: text.rfind(b"\n") + 1]
    with open(folder / LOG_FILE, "ab", opener=_private) as file:
        for line in whole.split(b"\n")[:-1]:
            record = {
                "at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "line": line.decode(errors="replace"),
            }
            file.write(json.dumps(record).encode() + b"\n")
    return start + len(whole)


def _bare(folder: Path) -> dict[str, str]:
    """Return the environment of a fresh machine: nothing of this one's but where programs lie."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "OMP_NUM_THREADS") if name in os.environ}
    scratch = folder / "tmp"
    scratch.mkdir(mode=0o700, exist_ok=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**kept, "PATH": path, "TMPDIR": str(scratch)}


def _is_up(folder: Path) -> bool:
    task = Task.model_validate_json((folder / TASK_FILE).read_bytes())
    lock = filelock.FileLock(folder / LOCK_FILE)
    try:
        with lock.acquire(timeout=0):
            return time.time() < task.launched_at + LAUNCH_SECONDS and not (folder / LOG_FILE).exists()
    except filelock.Timeout:
        return True


def _has_end(folder: Path) -> bool:
    return (folder / END_FILE).exists()


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    with open(partial, "w", opener=_private) as file:
        file.write(text)
    partial.rename(path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def main(arguments: Sequence[str]) -> None:
    """Be the machine of a folder."""
    work(Path(arguments[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
