"""Reading a run folder's events: what is new since the cursor, and what state the run is in."""

from pathlib import Path

from tunebridge.job import JobStatus, Snapshot
from tunebridge.training.config import CANCEL_FILE, EVENTS_FILE, LOG_FILE, RESULT_FILE
from tunebridge.training.news import News, log_tail, read_news
from tunebridge_local.status import job_status


def follow(run: Path, cursor: str | None, *, is_alive: bool) -> Snapshot:
    """Return what the trainer wrote since `cursor` (`BYTE:WORD`) and the state that follows from it."""
    start, known_word = _parse(cursor)
    news, end = _read(run / EVENTS_FILE, start)
    word = news.word or known_word
    if news.word and job_status(news.word).is_terminal:
        error = news.events[-1].message if job_status(word) == JobStatus.failed else None
        return _snapshot(news, end, word, error)
    if not is_alive:
        return _snapshot(news, end, *_how_it_ended(run))
    # A terminal word from before a resume says nothing about the process that runs now.
    return _snapshot(news, end, "preparing" if job_status(word).is_terminal else word, None)


def is_leaving(run: Path) -> bool:
    """Whether the trainer has said how it ended, so that its process is about to go if it is still there."""
    word = _read(run / EVENTS_FILE, 0)[0].word
    return word is not None and job_status(word).is_terminal


def _how_it_ended(run: Path) -> tuple[str, str | None]:
    """Return the state of a run whose process is gone without a last word, and why it failed."""
    if (run / RESULT_FILE).exists():
        return "succeeded", None
    if (run / CANCEL_FILE).exists():
        return "cancelled", None
    reason = "the trainer's process ended without a word; it was killed, or the machine ran out of memory"
    tail = log_tail(run / LOG_FILE)
    return "failed", f"{reason}. Last lines of {run / LOG_FILE}:\n{tail}" if tail else reason


def _snapshot(news: News, end: int, word: str, error: str | None) -> Snapshot:
    return Snapshot(
        status=job_status(word),
        backend_status=word,
        cursor=f"{end}:{word}",
        events=news.events,
        metrics=news.metrics,
        error=error,
    )


def _parse(cursor: str | None) -> tuple[int, str]:
    byte, _, word = (cursor or "0:queued").partition(":")
    return int(byte), word


def _read(path: Path, start: int) -> tuple[News, int]:
    """Return what is new behind a byte, and the byte at which the next read begins."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            text = file.read()
    except FileNotFoundError:
        return read_news(()), start
    complete = text[: text.rfind(b"\n") + 1]  # the last line may be half written
    return read_news(complete.split(b"\n")), start + len(complete)
