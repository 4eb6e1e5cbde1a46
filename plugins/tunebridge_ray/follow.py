"""A run folder and what Ray says of the job -> what is new, and in which state the job is."""

import json
from collections.abc import Callable, Sequence

from tunebridge.job import JobStatus, Snapshot, Usage
from tunebridge.training.config import CANCEL_FILE, EVENTS_FILE, RESULT_FILE
from tunebridge.training.news import last_words, read_news
from tunebridge_ray.cluster.place import Place
from tunebridge_ray.status import job_status

GONE = "GONE"
"""Stands for Ray's word where the cluster does not know the job any more."""
ENDED = {"succeeded": "SUCCEEDED", "cancelled": "SUCCEEDED"}
"""The trainer's last word -> how a job ended that the cluster has forgotten."""
FORGOTTEN = (
    "the cluster does not know the job any more; it was shut down or started again. `tunebridge jobs resume` sends the "
    "job again, and it goes on from its last checkpoint."
)


def follow(place: Place, cursor: str | None, word: str, log: Callable[[], Sequence[str]]) -> Snapshot:
    """Return what the trainer wrote since `cursor` (`BYTE:WORD`) and the state that follows from it and Ray's word."""
    byte, _, known = (cursor or "0:").partition(":")
    text = place.read(EVENTS_FILE, int(byte)) or b""
    whole = text[: text.rfind(b"\n") + 1]  # the last line may be half written
    news = read_news(whole.split(b"\n"))
    said = news.word or known
    is_stopping = word == "RUNNING" and place.read(CANCEL_FILE) is not None
    status = job_status(ENDED.get(said, "FAILED") if word == GONE else word, said, is_stopping=is_stopping)
    return Snapshot(
        status=status,
        backend_status=word,
        cursor=f"{int(byte) + len(whole)}:{said}",
        events=news.events,
        metrics=news.metrics,
        usage=_usage(place) if status == JobStatus.succeeded else Usage(),
        error=_failure(place, said, word, log) if status == JobStatus.failed else None,
    )


def _failure(place: Place, said: str, word: str, log: Callable[[], Sequence[str]]) -> str:
    """Return the trainer's own reason, or what Ray says with the end of the driver's log."""
    if said == "failed":
        return read_news((place.read(EVENTS_FILE) or b"").split(b"\n")).failure or said
    if word == GONE:
        return FORGOTTEN
    tail = last_words(log())
    return f"the job ended as {word}. Last lines of its log:\n{tail}" if tail else f"the job ended as {word}"


def _usage(place: Place) -> Usage:
    result = json.loads(place.read(RESULT_FILE) or b"{}")
    return Usage(trained_tokens=result.get("trained_tokens"), training_seconds=result.get("wall_seconds"))
