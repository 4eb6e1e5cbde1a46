"""The only poll loop: follows a job from any process, tells each event once, backs off, ends with the job."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tunebridge.backend import Backend
from tunebridge.cost import budget
from tunebridge.errors import BackendError, JobTimeout, TuneBridgeError
from tunebridge.job import Event, Job, JobStatus, now
from tunebridge.store import Store

FIRST_PAUSE_SECONDS = 0.25
MAX_ERROR_PAUSE_SECONDS = 60.0
PAUSE_GROWTH = 1.5

logger = logging.getLogger(__name__)

Observer = Callable[[Job, Event], None]


def poll_once(store: Store, backend: Backend, job_id: str, observer: Observer | None = None) -> Job:
    """Ask the backend once, keep what is new, tell the observer of each new event, and return the job.

    A job that has ended, or whose create call is not settled, is returned as it is.
    """
    job = store.get(job_id)
    if job.status.is_terminal or job.backend_id is None or _is_being_submitted(store, job):
        return job
    try:
        snapshot = backend.poll(job, job.cursor)
    except Exception as raised:
        raise raised if isinstance(raised, TuneBridgeError) else backend.classify(raised, "poll") from None
    job, new = store.record(job, snapshot)
    job = _hold_to_budget(store, backend, job)
    if observer:
        for _, event in new:
            observer(job, event)
    return job


def _hold_to_budget(store: Store, backend: Backend, job: Job) -> Job:
    """Cancel a job that has spent more than it may, and say so once."""
    if job.status.is_terminal or job.status == JobStatus.cancelling or (cost := store.ledger.cost(job.id)) is None:
        return job
    why = budget.breach(job, cost, store.ledger.left_for(job.id), now())
    if why is None:
        return job
    store.add_event(job.id, Event(id="tunebridge-budget", at=now(), kind="error", message=why))
    if not backend.info.capabilities.cancel:
        return job
    try:
        backend.cancel(job)
    except Exception as raised:  # the next poll tries again
        logger.warning("job %s is over its budget and could not be cancelled: %s", job.id, type(raised).__name__)
        return job
    return store.change(job.id, lambda j: j.model_copy(update={"status": JobStatus.cancelling}))


def _is_being_submitted(store: Store, job: Job) -> bool:
    return job.status == JobStatus.submitting and store.is_held(job.id)


@dataclass
class Pace:
    """How long to wait before the next poll: short while things happen, longer while nothing does."""

    longest_seconds: float
    pause_seconds: float = FIRST_PAUSE_SECONDS

    def after_news(self) -> float:
        """Return the pause after something happened."""
        self.pause_seconds = FIRST_PAUSE_SECONDS
        return self.pause_seconds

    def after_silence(self) -> float:
        """Return the pause after nothing happened; it grows to the backend's own rhythm."""
        self.pause_seconds = min(self.pause_seconds * PAUSE_GROWTH, self.longest_seconds)
        return self.pause_seconds

    def after_error(self, error: BackendError) -> float:
        """Return the pause after an error: what the backend asked for, or twice the last one."""
        self.pause_seconds = min(self.pause_seconds * 2, MAX_ERROR_PAUSE_SECONDS)
        return error.retry_after or self.pause_seconds


def watch(
    store: Store,
    backend: Backend,
    job_id: str,
    *,
    after: int = 0,
    timeout_seconds: float | None = None,
    observer: Observer | None = None,
) -> Iterator[tuple[int, Event]]:
    """Yield the job's events with their numbers, those after a number, until the job has ended.

    Ends as well when the job was never confirmed by the backend and nobody is submitting it (see `reconcile`).

    Events come from the store, so several watchers see the same ones, each once and in order. Errors that
    may pass (no network after the laptop's lid was closed, a 503) are waited out; others are raised. JobTimeout
    when the job has not ended after `timeout_seconds`; the job itself goes on.
    """
    pace = Pace(longest_seconds=backend.info.capabilities.poll_seconds)
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    while True:
        job, pause = _look(store, backend, job_id, pace, observer)
        fresh = store.events(job_id, after=after)
        for after, event in fresh:
            yield after, event
        if job.status.is_terminal or (job.backend_id is None and not _is_being_submitted(store, job)):
            return
        left = math.inf if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise JobTimeout(
                f"Job {job_id} is {job.status} after {timeout_seconds:g} s of waiting; it goes on. "
                f"Follow it again with `tunebridge jobs watch {job_id}`.",
                job_id=job_id,
            )
        pause = pace.after_news() if fresh and pause is None else pause or pace.after_silence()
        time.sleep(min(pause, left))


def _look(
    store: Store, backend: Backend, job_id: str, pace: Pace, observer: Observer | None
) -> tuple[Job, float | None]:
    """Poll once; after an error that may pass, return the job as it is known and how long to wait."""
    try:
        return poll_once(store, backend, job_id, observer), None
    except BackendError as error:
        if not error.retryable:
            raise
        logger.info("job %s: %s", job_id, error)
        return store.get(job_id), pace.after_error(error)
