"""A job and its log -> what is new: the trainer's events and metrics, and what the job has cost. Pure."""

import hashlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from tunebridge.job import Event, JobStatus, Snapshot, Usage
from tunebridge.training.news import News, last_words, read_news, said_in
from tunebridge_huggingface.status import job_status


def snapshot(found: Mapping[str, Any], log: Sequence[str], cursor: str | None, price: Decimal | None) -> Snapshot:
    """Return the job's state and what lies behind the cursor, which names the last line of the trainer that was given.

    The service gives the whole log each time. Where the line of the cursor is not in it any more, everything is
    given again: events have ids, so none is kept twice.
    """
    said = list(said_in(log))
    whole, seen = read_news(said), _place(said, cursor)
    status = job_status(found["stage"], whole.word)
    ending = _ending(found, price) if cursor is None or not cursor.endswith("+") else []
    new = read_news(said[seen:])
    last = _name(said[-1]) if said else (cursor or "").rstrip("+")
    return Snapshot(
        status=status,
        backend_status=found["stage"],
        cursor=f"{last}+" if found["finished_at"] else last or None,
        events=(*new.events, *ending),
        metrics=new.metrics,
        usage=Usage(training_seconds=found["durations"].get("running_secs")),
        error=_failure(found, whole, log) if status == JobStatus.failed else None,
    )


def _place(said: Sequence[bytes], cursor: str | None) -> int:
    """Return how many of the trainer's lines were given before."""
    name = (cursor or "").rstrip("+")
    return next((number for number in range(len(said), 0, -1) if _name(said[number - 1]) == name), 0)


def _name(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()[:16]


def _ending(found: Mapping[str, Any], price: Decimal | None) -> list[Event]:
    """Return what the job has cost: its running time at the machine's price."""
    seconds = found["durations"].get("running_secs")
    if not found["finished_at"] or seconds is None:
        return []
    data: dict[str, Any] = {"running_seconds": seconds, "flavor": found["flavor"]}
    said = f"ran {seconds} s on {found['flavor']}"
    if price is not None:
        usd = price * Decimal(seconds) / 3600
        data |= {"usd": f"{usd:.4f}", "usd_per_hour": str(price)}
        said += f", about {usd:.4f} USD at {price} USD an hour"
    return [Event(id="billed", at=found["finished_at"], message=said, data=data)]


def _failure(found: Mapping[str, Any], whole: News, log: Sequence[str]) -> str:
    """Return the trainer's own reason, or the service's with the end of the log."""
    if whole.failure:
        return whole.failure
    reason = found["message"] or f"the job ended as {found['stage']}"
    tail = last_words(log)
    return f"{reason}. Last lines of its log:\n{tail}" if tail else reason
