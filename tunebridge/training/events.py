"""The trainer's only voice: lines of `events.jsonl`, repeated on stdout after the word TUNEBRIDGE."""

import json
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PREFIX = "TUNEBRIDGE "


class EventLog:
    """Appends events and metrics to the run folder; each line is whole or not there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        _cut_torn_line(path)
        self.attempt = 1 + _count_starts(path)
        self._is_heard = True
        self._file = open(path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600))  # noqa: SIM115

    def event(self, id: str, kind: str, message: str, **data: Any) -> None:
        """Write one event; an id that names the step is the same when the step is done again."""
        self._write({"type": "event", "id": id, "at": _now(), "kind": kind, "message": message, "data": data})

    def status(self, word: str, message: str = "") -> None:
        """Write a change of state."""
        self.event(f"status-{word}-{self.attempt}", "status", message or word, status=word)

    def metric(self, name: str, value: float, step: int) -> None:
        """Write one measured value."""
        self._write({"type": "metric", "name": name, "value": value, "step": step, "at": _now()})

    def close(self) -> None:
        """Close the file; what a full disk did not take is lost."""
        with suppress(OSError):
            self._file.close()

    def _write(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, allow_nan=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        self._repeat(line)

    def _repeat(self, line: str) -> None:
        """Say it on stdout too, for as long as somebody listens: the file is what counts."""
        if not self._is_heard:
            return
        try:
            sys.stdout.write(f"{PREFIX}{line}\n")
            sys.stdout.flush()
        except (OSError, ValueError):
            self._is_heard = False


class NoLog(EventLog):
    """Says nothing: the log of a process that trains beside the first one."""

    def __init__(self) -> None:
        self.attempt = 1

    def close(self) -> None:
        """Do nothing."""

    def _write(self, record: dict[str, Any]) -> None:
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _cut_torn_line(path: Path) -> None:
    """Remove a last line that a killed trainer left half written."""
    if not path.exists():
        return
    text = path.read_bytes()
    whole = text.rfind(b"\n") + 1
    if whole < len(text):
        os.truncate(path, whole)


def _count_starts(path: Path) -> int:
    if not path.exists():
        return 0
    return sum(b'"id": "started-' in line for line in path.read_bytes().split(b"\n"))
