"""What the trainer said, as events and metrics: lines of `events.jsonl`, or a log that carries them."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tunebridge.job import Event, Metric
from tunebridge.training.events import PREFIX


class News(NamedTuple):
    """Events and metrics, each in the order in which the trainer said them."""

    events: tuple[Event, ...]
    metrics: tuple[Metric, ...]

    @property
    def word(self) -> str | None:
        """The trainer's last word on its status, None when it said nothing of it."""
        return next((str(e.data["status"]) for e in reversed(self.events) if e.kind == "status"), None)

    @property
    def failure(self) -> str | None:
        """Why the run failed, None where the trainer's last word is another one."""
        return self.events[-1].message if self.word == "failed" else None


def read_news(lines: Iterable[bytes]) -> News:
    """Return what complete lines of `events.jsonl` say."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines if line]
    kinds = [(row.pop("type"), row) for row in rows]
    return News(
        events=tuple(Event.model_validate(row) for kind, row in kinds if kind == "event"),
        metrics=tuple(Metric.model_validate(row) for kind, row in kinds if kind == "metric"),
    )


def said_in(log: Iterable[str]) -> Iterator[bytes]:
    """Yield the trainer's lines of a log, whatever a vendor wrote before them; a line that was cut off is left out."""
    for line in log:
        _, prefix, said = line.partition(PREFIX)
        if prefix and _is_whole(said):
            yield said.strip().encode()


def log_tail(path: Path, lines: int = 8) -> str:
    """Return the last lines of a log that are not the trainer's own, empty where there is no log."""
    try:
        return last_words(path.read_text(errors="replace").splitlines(), lines)
    except FileNotFoundError:
        return ""


def last_words(log: Iterable[str], lines: int = 8) -> str:
    """Return the last lines that the trainer did not say itself: warnings, a traceback."""
    return "\n".join([line for line in log if line.strip() and PREFIX not in line][-lines:])


def _is_whole(said: str) -> bool:
    try:
        json.loads(said)
    except ValueError:
        return False
    return True
