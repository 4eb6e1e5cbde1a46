"""Total tables: the words of Ray Jobs and of the trainer -> JobStatus, errors -> BackendError."""

import re

from tunebridge.errors import (
    AuthenticationError,
    BackendError,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    RateLimited,
    ServiceUnavailable,
)
from tunebridge.job import JobStatus

STATUS: dict[str, JobStatus] = {
    "PENDING": JobStatus.queued,
    "RUNNING": JobStatus.running,
    "STOPPED": JobStatus.cancelled,
    "SUCCEEDED": JobStatus.succeeded,
    "FAILED": JobStatus.failed,
}
TRAINER: dict[str, JobStatus] = {
    "": JobStatus.preparing,
    "preparing": JobStatus.preparing,
    "running": JobStatus.running,
    "finalizing": JobStatus.finalizing,
    "succeeded": JobStatus.finalizing,
}
"""What a job that Ray calls RUNNING does, by the trainer's last word."""
BY_STATUS: dict[int, type[BackendError]] = {
    400: InvalidRequest,
    401: AuthenticationError,
    402: QuotaExceeded,
    403: PermissionDenied,
    404: NotFound,
    413: InvalidRequest,
    422: InvalidRequest,
    429: RateLimited,
}
ADVICE: dict[type[BackendError], str] = {
    AuthenticationError: "Set RAY_AUTH_TOKEN to the cluster's token",
    PermissionDenied: "Ask whoever keeps the cluster for the right to run jobs",
    NotFound: "Look at options.ray.address: it is the dashboard's, such as http://head:8265",
    QuotaExceeded: "Ask whoever keeps the cluster for more",
    RateLimited: "Wait a moment, then try again",
    InvalidRequest: "Correct the job",
    ServiceUnavailable: "Look whether the cluster's dashboard runs; `tunebridge jobs reconcile` tells what happened",
}
SAID_STATUS = re.compile(r"status code (\d{3})")


def job_status(word: str, trainer: str, *, is_stopping: bool = False) -> JobStatus:
    """Return the JobStatus for Ray's word and the trainer's last one; `unknown` for a word of Ray that is not known.

    `is_stopping`: whether the job was asked to stop and was not resumed since.
    """
    status = STATUS.get(word, JobStatus.unknown)
    if status == JobStatus.succeeded and trainer == "cancelled":
        return JobStatus.cancelled
    if status != JobStatus.running:
        return status
    if is_stopping:
        return JobStatus.cancelling
    return TRAINER.get(trainer, JobStatus.preparing)


def backend_error(error: Exception, operation: str) -> BackendError:
    """Turn what the SDK raises into a BackendError, told apart by name and HTTP status without importing the SDK."""
    kind, name = _kind(error), type(error).__name__
    found = SAID_STATUS.search(str(error))
    said = f"the cluster answered HTTP {found[1]}" if found else f"the cluster could not be asked ({name})"
    return kind(f"{said}. {ADVICE[kind]}.", backend="ray", operation=operation)


def _kind(error: Exception) -> type[BackendError]:
    if type(error).__name__ == "AuthenticationError":
        return AuthenticationError
    found = SAID_STATUS.search(str(error))
    if not found:
        return ServiceUnavailable  # no answer at all: what was done is not known
    status = int(found[1])
    return BY_STATUS.get(status, InvalidRequest if status < 500 else ServiceUnavailable)
