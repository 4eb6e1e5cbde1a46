"""What a job's log says behind a cursor, and why a job failed."""

from collections.abc import Callable

from tunebridge.job import JobStatus, Snapshot, Usage
from tunebridge.training.news import News, last_words, read_news, said_in
from tunebridge_azureml.client import State
from tunebridge_azureml.status import job_status


def follow(state: State, cursor: str | None, read: Callable[[int], bytes]) -> Snapshot:
    """Return a job's state and what its log says behind the cursor, a byte; `read` gives the log from a byte on."""
    start = int(cursor or 0)
    content = read(start)
    whole = content[: content.rfind(b"\n") + 1]  # the last line may be on its way
    status = job_status(state.word)
    news = read_news(said_in(_lines(whole)))
    return Snapshot(
        status=status,
        backend_status=state.word,
        cursor=str(start + len(whole)),
        events=news.events,
        metrics=news.metrics,
        usage=Usage(training_seconds=state.seconds),
        error=_failure(state, news, read) if status == JobStatus.failed else None,
    )


def _failure(state: State, news: News, read: Callable[[int], bytes]) -> str:
    """Return the trainer's own reason, or else the service's with the end of the log."""
    log = _lines(read(0))
    reason = news.failure or read_news(said_in(log)).failure
    if reason:
        return reason
    told = [state.error or "the service gave no reason", last_words(log)]
    return "\n".join(text for text in told if text)


def _lines(content: bytes) -> list[str]:
    return content.decode(errors="replace").split("\n")
