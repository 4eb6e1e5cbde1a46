"""The life of a run folder: lock, states, result; torch is imported only when all that stands."""

import errno
import os
import socket
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from tunebridge.errors import TuneBridgeError
from tunebridge.training import config as names
from tunebridge.training import files
from tunebridge.training.config import RunConfig
from tunebridge.training.events import EventLog, NoLog
from tunebridge.training.process import PEER_LOST, Stopped, is_out_of_memory, is_peer_lost

if TYPE_CHECKING:
    from tunebridge.training.loop import Loop

PROCESS_FILE = "process.json"
LOCK_SECONDS = 2.0
"""A trainer that is about to leave may hold the lock a moment longer."""
LOST = "another process of this run is gone; start all of them again, and they go on from the last checkpoint"
DISK_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


def run(folder: Path, was_told_to_stop: Callable[[], bool]) -> int:
    """Train in a run folder, or go on with what a stopped trainer left there; return the exit code.

    Of several processes (RANK) only the first one holds the folder, writes events and the result.
    """
    if int(os.environ.get("RANK", "0")) > 0:
        return _run_beside(folder, was_told_to_stop)
    try:
        with filelock.FileLock(folder / names.LOCK_FILE, timeout=LOCK_SECONDS):
            return _run_locked(folder, lambda: was_told_to_stop() or (folder / names.CANCEL_FILE).exists())
    except filelock.Timeout:
        sys.stderr.write(f"another trainer works on {folder}; this one leaves\n")
        return 1


def _run_locked(folder: Path, should_stop: Callable[[], bool]) -> int:
    if (folder / names.RESULT_FILE).exists():
        sys.stderr.write(f"{folder} is finished: {names.RESULT_FILE} is there\n")
        return 0
    try:
        log = _begin(folder)
    except OSError as error:
        sys.stderr.write(f"{folder} cannot be written: {reason(error)}\n")
        return 1
    try:
        if not _train(folder, log, should_stop):
            log.status("cancelled", "stopped; the last checkpoint is kept")
        return 0
    except BaseException as error:  # whatever ends the trainer is written down before it goes
        traceback.print_exc()
        if is_peer_lost(error):
            log.event(f"interrupted-{log.attempt}", "warning", LOST)
            return PEER_LOST
        _say_failed(log, error)
        return getattr(error, "exit_code", 1)
    finally:
        log.close()


def _run_beside(folder: Path, should_stop: Callable[[], bool]) -> int:
    """Train as one of the further processes, which say nothing."""
    if (folder / names.RESULT_FILE).exists():
        return 0
    try:
        _prepare(folder, files.read_config(folder), NoLog(), should_stop).go()
    except Stopped:
        pass
    except TuneBridgeError as error:  # the first process says it too
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except RuntimeError as error:
        if not is_peer_lost(error):
            raise
        sys.stderr.write(f"{LOST}\n")
        return PEER_LOST
    return 0


def _prepare(folder: Path, run: RunConfig, log: EventLog, should_stop: Callable[[], bool]) -> "Loop":
    from tunebridge.training.prepare import prepare

    return prepare(folder, run, log, should_stop)


def _begin(folder: Path) -> EventLog:
    record = {"pid": os.getpid(), "started_at": datetime.now(UTC).isoformat(), "hostname": socket.gethostname()}
    files.write_json(folder / PROCESS_FILE, record)
    log = EventLog(folder / names.EVENTS_FILE)
    log.event(f"started-{log.attempt}", "log", "the trainer started" if log.attempt == 1 else "the trainer goes on")
    log.status("preparing")
    return log


def _train(folder: Path, log: EventLog, should_stop: Callable[[], bool]) -> bool:
    """Train and write the result; False when told to stop before the end."""
    run = files.read_config(folder)
    if should_stop():
        return False
    try:
        loop = _prepare(folder, run, log, should_stop)
    except Stopped:
        return False
    log.status("running", f"step {loop.progress.step}/{loop.total}")
    if not loop.go():
        return False
    from tunebridge.training.result import write_result

    log.status("finalizing")
    write_result(folder, loop)
    log.status("succeeded")
    return True


def _say_failed(log: EventLog, error: BaseException) -> None:
    try:
        log.status("failed", reason(error))
    except OSError:
        sys.stderr.write("the failure could not be written to the events: no space\n")


def reason(error: BaseException) -> str:
    """Return one sentence for people; the traceback is in the log."""
    if isinstance(error, TuneBridgeError):
        return str(error)
    text = str(error).strip()
    if getattr(error, "errno", None) in DISK_FULL or any(f"os error {number})" in text for number in DISK_FULL):
        return "the disk is full; the last checkpoint is whole. Free some space, then resume the job."
    if is_out_of_memory(error):
        return (
            "memory ran out. Lower hyperparameters.max_length or batch_size, choose an adapter instead of full "
            "fine-tuning, or a smaller base model."
        )
    first = text.split("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
