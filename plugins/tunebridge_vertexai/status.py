"""Total tables: Vertex AI's states -> JobStatus, what its SDKs raise -> BackendError."""

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
)
from tunebridge.job import JobStatus

STATUS: dict[str, JobStatus] = {
    "JOB_STATE_QUEUED": JobStatus.queued,
    "JOB_STATE_PENDING": JobStatus.preparing,
    "JOB_STATE_RUNNING": JobStatus.running,
    "JOB_STATE_SUCCEEDED": JobStatus.succeeded,
    "JOB_STATE_PARTIALLY_SUCCEEDED": JobStatus.succeeded,
    "JOB_STATE_FAILED": JobStatus.failed,
    "JOB_STATE_EXPIRED": JobStatus.failed,
    "JOB_STATE_CANCELLING": JobStatus.cancelling,
    "JOB_STATE_CANCELLED": JobStatus.cancelled,
    "JOB_STATE_PAUSED": JobStatus.paused,
    "JOB_STATE_UPDATING": JobStatus.running,
}
"""The SDK's own `has_ended` forgets PARTIALLY_SUCCEEDED: results are there, and nothing will change any more."""
PHASES: dict[str, JobStatus] = {
    "TUNING_JOB_STATE_WAITING_FOR_QUOTA": JobStatus.queued,
    "TUNING_JOB_STATE_PROCESSING_DATASET": JobStatus.preparing,
    "TUNING_JOB_STATE_WAITING_FOR_CAPACITY": JobStatus.queued,
    "TUNING_JOB_STATE_TUNING": JobStatus.running,
    "TUNING_JOB_STATE_POST_PROCESSING": JobStatus.finalizing,
}
"""What a tuning job does while its state is RUNNING."""
BY_CODE: dict[int, type[BackendError]] = {
    400: InvalidRequest,
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    409: InvalidRequest,
    412: InvalidRequest,
    429: RateLimited,
}
CREDENTIAL_ERRORS = ("DefaultCredentialsError", "RefreshError", "InvalidOperation", "MalformedError")
"""Names of google.auth's errors that say that there are no good credentials."""
ADVICE: dict[type[BackendError], str] = {
    AuthenticationError: "Sign in with `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS",
    PermissionDenied: "Give the account the role Vertex AI User and access to the bucket",
    NotFound: "Look at the project, the region and the bucket",
    QuotaExceeded: "Raise the quota, choose another region or wait for other jobs to end",
    RateLimited: "Wait a moment, then try again",
    InvalidRequest: "Correct the job",
    ServiceUnavailable: "Run `tunebridge jobs reconcile` to learn what happened",
}


def job_status(state: str, phase: str | None = None) -> JobStatus:
    """Return the JobStatus for the service's words, `unknown` for one that is not in the tables."""
    status = STATUS.get(state, JobStatus.unknown)
    return PHASES.get(phase, status) if phase and status == JobStatus.running else status


def backend_error(error: Exception, operation: str) -> BackendError:
    """Turn what one of Google's SDKs raises into a BackendError, told apart without importing any of them."""
    kind: type[BackendError]
    if type(error).__name__ in CREDENTIAL_ERRORS:
        said, kind = "there are no valid Google credentials", AuthenticationError
    elif type(error).__name__ == "ValidationError":
        said, kind = "a value is not of the type that the service takes", InvalidRequest
    else:
        said, kind = _said(error), _kind(error)
    message = f"{said.rstrip('.')}. {ADVICE[kind]}."
    return kind(message, backend="vertexai", operation=operation, retry_after=_retry_after(error))


def _kind(error: Exception) -> type[BackendError]:
    code = getattr(error, "code", None)
    if not isinstance(code, int):
        return ServiceUnavailable  # no answer at all: what was done is not known
    kind = BY_CODE.get(code, InvalidRequest if code < 500 else ServiceUnavailable)
    # Google says RESOURCE_EXHAUSTED of both: "per minute" passes by itself, any other quota does not.
    said = str(getattr(error, "message", "")).lower()
    return QuotaExceeded if kind is RateLimited and "quota" in said and "per minute" not in said else kind


def _said(error: Exception) -> str:
    if getattr(error, "code", None) == 401:
        return "the credentials were refused"
    return str(getattr(error, "message", None) or type(error).__name__).strip()


def _retry_after(error: Exception) -> float | None:
    headers: Any = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        return float(headers["retry-after"])
    except (KeyError, TypeError, ValueError):
        return None
