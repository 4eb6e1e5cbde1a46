"""Two total tables: the service's states -> JobStatus, its errors -> BackendError."""

from typing import Any

from tunebridge.errors import (
    AuthenticationError,
    BackendError,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    RateLimited,
    ServiceUnavailable,
    TrainingUnavailable,
)
from tunebridge.job import JobStatus

STATUS: dict[str, JobStatus] = {
    "validating_files": JobStatus.preparing,
    "pending": JobStatus.queued,
    "queued": JobStatus.queued,
    "running": JobStatus.running,
    "pausing": JobStatus.running,
    "paused": JobStatus.paused,
    "resuming": JobStatus.queued,
    "succeeded": JobStatus.succeeded,
    "failed": JobStatus.failed,
    "cancelled": JobStatus.cancelled,
    "canceled": JobStatus.cancelled,
}
"""The first six of OpenAI's are documented; the rest were seen at Azure."""
QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "exceeded_quota", "daily_limit_exceeded"})
CLOSED_CODE = "training_not_available"
BY_STATUS: dict[int, type[BackendError]] = {
    400: InvalidRequest,
    401: AuthenticationError,
    402: QuotaExceeded,
    403: PermissionDenied,
    404: NotFound,
    409: InvalidRequest,
    413: InvalidRequest,
    422: InvalidRequest,
    429: RateLimited,
}
ADVICE: dict[type[BackendError], str] = {
    AuthenticationError: "Set the environment variable that holds the key, or renew the key",
    PermissionDenied: "Ask for the permission, or use another project",
    NotFound: "Look at the id and the project",
    QuotaExceeded: "Raise the limit or wait for other jobs to end",
    RateLimited: "Wait a moment, then try again",
    InvalidRequest: "Correct the job",
    ServiceUnavailable: "Run `tunebridge jobs reconcile` to learn what happened",
}


def job_status(word: str) -> JobStatus:
    """Return the JobStatus for the service's word, `unknown` for one that is not in the table."""
    return STATUS.get(word, JobStatus.unknown)


def backend_error(error: Exception, operation: str) -> BackendError:
    """Turn what the SDK raises into a BackendError; told apart by HTTP status and code, without importing the SDK."""
    status, code = getattr(error, "status_code", None), getattr(error, "code", None)
    if code == CLOSED_CODE:
        return TrainingUnavailable(
            "this organisation can no longer create training jobs: OpenAI is closing self-serve fine-tuning. Change "
            "`backend` in the job file; `tunebridge backends` lists the others.",
            backend="openai",
            operation=operation,
        )
    kind = QuotaExceeded if code in QUOTA_CODES else _by_status(status)
    message = f"{_said(error, kind)} {ADVICE[kind]}."
    request_id = getattr(error, "request_id", None)
    return kind(message, backend="openai", operation=operation, retry_after=_retry_after(error), request_id=request_id)


def _by_status(status: Any) -> type[BackendError]:
    if not isinstance(status, int):
        return ServiceUnavailable  # no answer at all: what was done is not known
    return BY_STATUS.get(status, InvalidRequest if status < 500 else ServiceUnavailable)


def _said(error: Exception, kind: type[BackendError]) -> str:
    """Return the service's own sentence; not of a refused key, because some services repeat a part of it."""
    if kind is AuthenticationError:
        return "the key was refused."
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    return f"{str(message or type(error).__name__).strip().rstrip('.')}."


def _retry_after(error: Exception) -> float | None:
    headers = getattr(getattr(error, "response", None), "headers", {})
    try:
        if "retry-after-ms" in headers:
            return float(headers["retry-after-ms"]) / 1000
        return float(headers["retry-after"])
    except (KeyError, TypeError, ValueError):  # no such header, or no number in it
        return None
