"""`python -m tunebridge_gradient.worker FOLDER`: sends the samples chunk by chunk, epoch by epoch.

The service has no jobs: this process is the job. After each chunk it writes down that the service has applied it,
so that a worker that is stopped or killed goes on with the chunk after. A chunk whose answer was lost is sent again.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock

from tunebridge.errors import BackendError, RateLimited
from tunebridge.job import Event
from tunebridge.training.events import EventLog
from tunebridge.training.news import read_news
from tunebridge_gradient import client

TASK_FILE, SAMPLES_FILE, EVENTS_FILE = "worker.json", "samples.jsonl", "events.jsonl"
LOCK_FILE, CANCEL_FILE, LOG_FILE, LAUNCH_FILE = "worker.lock", "cancel.request", "worker.log", "launched"
ATTEMPTS = 4
"""Calls for one chunk before the job fails."""
RETRY_SECONDS = 1.0
LAUNCH_SECONDS = 60.0
"""Time within which a process that was started takes its lock."""

Send = Callable[[str, Sequence[Any]], client.Applied]


def start(folder: Path, *, module: str = "tunebridge_gradient.worker") -> None:
    """Start a worker on a folder, in a session of its own, so that closing the terminal does not stop it."""
    (folder / LAUNCH_FILE).touch(mode=0o600)
    os.utime(folder / LAUNCH_FILE)
    with open(folder / LOG_FILE, "ab", opener=private) as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
    _children[:] = [*(child for child in _children if child.poll() is None), process]


_children: "list[subprocess.Popen[bytes]]" = []
"""Workers that this very process started; asking one whether it has ended lets the system forget it."""


def is_alive(folder: Path) -> bool:
    """Whether a worker works on a folder, or was started a moment ago."""
    try:
        with filelock.FileLock(folder / LOCK_FILE).acquire(timeout=0):
            launched = folder / LAUNCH_FILE
            return launched.exists() and time.time() < launched.stat().st_mtime + LAUNCH_SECONDS
    except filelock.Timeout:
        return True


def work(folder: Path, send: Send) -> None:
    """Send what has not been applied yet; `send` is one call for an adapter and a chunk."""
    with filelock.FileLock(folder / LOCK_FILE, timeout=0):
        (folder / LAUNCH_FILE).unlink(missing_ok=True)
        log = EventLog(folder / EVENTS_FILE)
        log.event(f"started-{log.attempt}", "log", "the worker started" if log.attempt == 1 else "the worker goes on")
        try:
            _send_all(folder, send, log)
        except BackendError as error:
            log.status("failed", str(error))
        except BaseException as error:  # whatever ends the worker is written down before it goes
            log.status("failed", f"the worker ended: {type(error).__name__}")
            raise
        finally:
            log.close()


def applied(folder: Path) -> list[Event]:
    """Return the chunks that the service is known to have applied, in order."""
    path = folder / EVENTS_FILE
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    return [event for event in read_news(lines).events if event.kind == "progress"]


def chunks(task: dict[str, Any], samples: Sequence[Any]) -> Iterator[tuple[int, int, Sequence[Any]]]:
    """Yield epoch, number in the epoch and samples of every call, the same ones each time."""
    size = task["chunk_samples"]
    for epoch in range(1, task["epochs"] + 1):
        order = list(samples)
        if task.get("seed") is not None:
            random.Random(f"{task['seed']}/{epoch}").shuffle(order)
        for number, first in enumerate(range(0, len(order), size), start=1):
            yield epoch, number, order[first : first + size]


def _send_all(folder: Path, send: Send, log: EventLog) -> None:
    task = json.loads((folder / TASK_FILE).read_bytes())
    samples = [json.loads(line) for line in (folder / SAMPLES_FILE).read_bytes().split(b"\n") if line]
    calls, done = list(chunks(task, samples)), len(applied(folder))
    log.status("running", f"chunk {done}/{len(calls)}")
    for step, (epoch, number, chunk) in enumerate(calls[done:], start=done + 1):
        if (folder / CANCEL_FILE).exists():
            log.status("cancelled", "stopped between two chunks; what was applied stays in the adapter")
            return
        said = _send(send, task["adapter_id"], chunk, log, step)
        loss = said.sum_loss / max(said.tokens, 1)
        log.metric("train_loss", loss, step)
        log.event(
            f"chunk-{step}",
            "progress",
            f"chunk {step}/{len(calls)}, loss {loss:.4f}",
            step=step,
            total_steps=len(calls),
            epoch=epoch,
            chunk=number,
            loss=loss,
            tokens=said.tokens,
            sum_loss=said.sum_loss,
        )
    log.status("succeeded")


def _send(send: Send, adapter_id: str, chunk: Sequence[Any], log: EventLog, step: int) -> client.Applied:
    """Send one chunk; after a lost answer or a refusal that passes, send it again."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return send(adapter_id, chunk)
        except BackendError as error:
            if attempt == ATTEMPTS or not error.retryable:
                raise
            lost = "" if isinstance(error, RateLimited) else "; it may have been applied, and is then applied twice"
            said = f"chunk {step} is sent again after: {error}{lost}"
            log.event(f"again-{step}-{log.attempt}-{attempt}", "warning", said, step=step)
            time.sleep(RETRY_SECONDS * 2 ** (attempt - 1))
    raise AssertionError("the last attempt returns or raises")


def private(path: str, flags: int) -> int:
    """Open a file that only its owner can read."""
    return os.open(path, flags, 0o600)


def main(folder: Path) -> None:
    """Work with the access of the job's connection and the environment."""
    task = json.loads((folder / TASK_FILE).read_bytes())
    remote = client.Remote(client.access(task["connection"]), timeout_seconds=task["timeout_seconds"])
    work(folder, remote.fine_tune)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
