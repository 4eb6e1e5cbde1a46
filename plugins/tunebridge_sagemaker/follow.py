"""A job's transitions and log lines as events and metrics, each once and in order of time, by cursor.

CloudWatch delivers lines late, so nothing younger than `until` is told yet: what was told stays before what is told
later. The cursor counts transitions and, for each log stream, the lines that were read; it does not age as the
service's own tokens do.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

from tunebridge.job import Event, Metric
from tunebridge.training.news import read_news, said_in


class Place(NamedTuple):
    """Where reading a log stream goes on."""

    at_ms: int = 0
    """Time of the last line that was read."""
    same: int = 0
    """Lines of that very time that were read."""
    read: int = 0
    """Lines that were read in all."""


class Line(NamedTuple):
    """A line of a log."""

    at_ms: int
    text: str


class Cursor(NamedTuple):
    """What was told of a job."""

    transitions: int
    streams: dict[str, Place]
    is_over: bool = False
    """Whether the last word was told."""

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Read a cursor; None stands for the beginning."""
        known = json.loads(text or '{"transitions": 0, "streams": {}, "is_over": false}')
        streams = {name: Place(*place) for name, place in known["streams"].items()}
        return cls(known["transitions"], streams, known["is_over"])

    def __str__(self) -> str:
        return json.dumps(self._asdict())


def after(place: Place, lines: Iterable[Line]) -> tuple[list[Line], Place]:
    """Return the lines of a stream behind a place, and the place behind them; `lines` begin at the place's time."""
    fresh: list[Line] = []
    skipped = 0
    for line in lines:
        if line.at_ms == place.at_ms and skipped < place.same:
            skipped += 1
        elif line.at_ms >= place.at_ms:
            fresh.append(line)
    if not fresh:
        return [], place
    last = fresh[-1].at_ms
    same = sum(line.at_ms == last for line in fresh) + (place.same if last == place.at_ms else 0)
    return fresh, Place(last, same, place.read + len(fresh))


def line_events(stream: str, first: int, lines: Sequence[Line]) -> tuple[list[Event], list[Metric]]:
    """Return what the lines of a stream say; `first` is the number of the first one."""
    events: list[Event] = []
    metrics: list[Metric] = []
    for number, line in enumerate(lines, start=first):
        at = datetime.fromtimestamp(line.at_ms / 1000, UTC)
        said = list(said_in([line.text]))
        news = read_news(said)
        metrics += news.metrics
        for event in news.events:
            # Whether the job is over says the service: a trainer that was interrupted goes on elsewhere.
            kind = "log" if event.kind == "status" else event.kind
            events.append(event.model_copy(update={"at": at, "kind": kind}))
        if not said and line.text.strip():
            events.append(Event(id=f"log-{stream}-{number}", at=at, message=line.text.rstrip()))
    return events, metrics


def transition_events(transitions: Sequence[Mapping[str, Any]], first: int) -> list[Event]:
    """Return changes of state as events; `first` is the number of the first one."""
    return [
        Event(
            id=f"transition-{number}",
            at=found["StartTime"].astimezone(UTC),
            kind="warning" if found["Status"] == "Interrupted" else "status",
            message=f"{found['Status']}: {found.get('StatusMessage') or 'no message'}",
            data={"status": found["Status"]},
        )
        for number, found in enumerate(transitions, start=first)
    ]


def bill_event(described: Mapping[str, Any]) -> list[Event]:
    """Return what the service counted, and what spot saved, when it says so."""
    trained, billed = described.get("TrainingTimeInSeconds"), described.get("BillableTimeInSeconds")
    if not trained or billed is None:
        return []
    saved = f", {100 * (1 - billed / trained):.0f} % saved" if described.get("EnableManagedSpotTraining") else ""
    at = described.get("TrainingEndTime") or described["LastModifiedTime"]
    message = f"{trained} s of training, {billed} s billed{saved}"
    return [Event(id="bill", at=at.astimezone(UTC), message=message, data={"trained": trained, "billed": billed})]
