"""The life of a run folder: lock, states, result; torch is imported only when all that stands."""

import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import filelock

from tunebridge import __version__, digests
from tunebridge.data.dataset import Split
from tunebridge.errors import StoreError, TuneBridgeError
from tunebridge.training import config as names
from tunebridge.training.config import RunConfig
from tunebridge.training.events import EventLog

if TYPE_CHECKING:
    from tunebridge.training.loop import Loop

PROCESS_FILE = "process.json"
RESOURCES_FILE = "resources.json"
LOCK_SECONDS = 2.0


def run(folder: Path) -> int:
    """Train in a run folder, or go on with what a stopped trainer left there; return the exit code."""
    stopped = _hear_signals()
    try:
        with filelock.FileLock(folder / names.LOCK_FILE, timeout=LOCK_SECONDS):
            return _run_locked(folder, lambda: stopped() or (folder / names.CANCEL_FILE).exists())
    except filelock.Timeout:
        sys.stderr.write(f"another trainer works on {folder}; this one leaves\n")
        return 1


def _run_locked(folder: Path, should_stop: Callable[[], bool]) -> int:
    if (folder / names.RESULT_FILE).exists():
        sys.stderr.write(f"{folder} is finished: {names.RESULT_FILE} is there\n")
        return 0
    _write_process(folder)
    log = EventLog(folder / names.EVENTS_FILE)
    log.event(f"started-{log.attempt}", "log", "the trainer started" if log.attempt == 1 else "the trainer goes on")
    log.status("preparing")
    try:
        finished = _train(folder, log, should_stop)
    except BaseException as error:  # whatever ends the trainer is written down before it goes
        traceback.print_exc()
        _say_failed(log, error)
        return getattr(error, "exit_code", 1)
    if not finished:
        log.status("cancelled", "stopped; the last checkpoint is kept")
    return 0


def _train(folder: Path, log: EventLog, should_stop: Callable[[], bool]) -> bool:
    """Train and write the result; False when told to stop before the end."""
    if should_stop():
        return False
    from tunebridge.training.prepare import prepare

    loop = prepare(folder, log, should_stop)
    log.status("running", f"step {loop.progress.step}/{loop.total}")
    if not loop.go():
        return False
    log.status("finalizing")
    _write_result(folder, loop)
    log.status("succeeded")
    return True


def _write_result(folder: Path, loop: "Loop") -> None:
    """Write the weights under another name, then the result, which makes the run a finished one."""
    from tunebridge.training.models import load_tokenizer

    name = names.ADAPTER_FOLDER if loop.run.adapter.type == "lora" else names.MODEL_FOLDER
    partial = folder / f"{name}.partial"
    loop.model.save_pretrained(partial, safe_serialization=True)
    load_tokenizer(loop.run.base_model).save_pretrained(partial)
    partial.rename(folder / name)
    _write_json(folder / names.RESULT_FILE, _result(folder, loop, digests.of_folder(folder / name)))


def _result(folder: Path, loop: "Loop", digest: str) -> dict[str, Any]:
    from tunebridge.training.sources import locate

    progress, base = loop.progress, locate(loop.run.base_model)
    return {
        "metrics": progress.last_losses,
        "steps": progress.step,
        "trained_tokens": progress.trained_tokens,
        "total_tokens": progress.total_tokens,
        "wall_seconds": round(progress.wall_seconds, 3),
        "compute_seconds": round(progress.compute_seconds, 3),
        "stopped_early": progress.stopped_early,
        "kept_step": progress.best_step if loop.best is not None else progress.step,
        "rows": {"trained": len(loop.train.rows), "dropped": loop.train.dropped, "truncated": loop.train.truncated},
        "artifact_digest": digest,
        "base_model": {"name": base.name, "digest": digests.of_folder(base.folder) if base.folder else None},
        "resources": loop.resources.to_json(),
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"tunebridge": __version__, **{name: version(name) for name in ("torch", "transformers", "peft")}}


def _say_failed(log: EventLog, error: BaseException) -> None:
    try:
        log.status("failed", _reason(error))
    except OSError:
        sys.stderr.write("the failure could not be written to the events: no space\n")


def _reason(error: BaseException) -> str:
    """Return one sentence for people; the traceback is in the log."""
    if isinstance(error, TuneBridgeError):
        return str(error)
    if isinstance(error, OSError) and error.errno in (27, 28):  # EFBIG, ENOSPC
        return "the disk is full; the last checkpoint is whole. Free some space, then resume the job."
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error) or "out of memory" in str(error):
        return (
            "memory ran out. Lower hyperparameters.max_length or batch_size, choose an adapter instead of full "
            "fine-tuning, or a smaller base model."
        )
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _hear_signals() -> Callable[[], bool]:
    """Turn SIGTERM and SIGINT into a request to stop after the current step."""
    heard: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        heard.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    return lambda: bool(heard)


def _write_process(folder: Path) -> None:
    record = {"pid": os.getpid(), "started_at": datetime.now(UTC).isoformat(), "hostname": socket.gethostname()}
    _write_json(folder / PROCESS_FILE, record)


def _write_json(path: Path, record: dict[str, Any]) -> None:
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w") as file:
        json.dump(record, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def read_split(path: Path) -> Split | None:
    """Read the canonical rows of a split, None where there are none."""
    return Split.read(path) if path.exists() else None


def read_config(folder: Path) -> RunConfig:
    """Read `run.json`; StoreError when it is broken."""
    try:
        return RunConfig.read(folder)
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder / names.RUN_FILE} cannot be read: {error}. Submit the job again.") from error
