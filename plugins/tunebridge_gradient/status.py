"""Total tables: our worker's words -> JobStatus, what the SDK raises -> BackendError."""

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
    "queued": JobStatus.queued,
    "running": JobStatus.running,
    "cancelling": JobStatus.cancelling,
    "succeeded": JobStatus.succeeded,
    "failed": JobStatus.failed,
    "cancelled": JobStatus.cancelled,
}
BY_STATUS: dict[int, type[BackendError]] = {
    400: InvalidRequest,
    401: AuthenticationError,
    402: QuotaExceeded,
    403: PermissionDenied,
    404: NotFound,
    429: RateLimited,
}
ADVICE: dict[type[BackendError], str] = {
    AuthenticationError: "Set GRADIENT_ACCESS_TOKEN to a token of the workspace",
    PermissionDenied: "Use a token of the workspace that owns the adapter",
    NotFound: "Look at the base model's slug, the adapter and the workspace",
    QuotaExceeded: "Raise the limit of the workspace",
    RateLimited: "Wait a moment, then try again",
    InvalidRequest: "Correct the job",
    ServiceUnavailable: "See whether the host answers, then run `tunebridge jobs reconcile`",
}


def job_status(word: str) -> JobStatus:
    """Return the JobStatus for the worker's word, `unknown` for one that is not in the table."""
    return STATUS.get(word, JobStatus.unknown)


def backend_error(error: Exception, operation: str) -> BackendError:
    """Turn what the SDK raises into a BackendError, told apart by HTTP status without importing the SDK.

    The service's own text is not repeated: bodies of errors are not documented, and may carry a part of the request.
    """
    status = getattr(error, "status", None)
    kind = BY_STATUS.get(status, InvalidRequest if status < 500 else ServiceUnavailable) if status else None
    said = f"the service answered {status}" if status else type(error).__name__
    if kind is None:
        kind = ServiceUnavailable  # no answer, or one that the SDK cannot read: what was done is not known
    return kind(f"{said}. {ADVICE[kind]}.", backend="gradient", operation=operation)
