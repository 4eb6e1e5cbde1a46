"""Total tables: the stages of Hugging Face Jobs and the trainer's words -> JobStatus, errors -> BackendError."""

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
    "SCHEDULING": JobStatus.queued,
    "RUNNING": JobStatus.running,
    "COMPLETED": JobStatus.succeeded,
    "CANCELED": JobStatus.cancelled,
    "ERROR": JobStatus.failed,
    "DELETED": JobStatus.failed,
}
TRAINER: dict[str | None, JobStatus] = {
    None: JobStatus.preparing,
    "preparing": JobStatus.preparing,
    "running": JobStatus.running,
    "finalizing": JobStatus.finalizing,
    "succeeded": JobStatus.finalizing,
    "cancelled": JobStatus.cancelling,
}
"""What a running machine does, by the trainer's last word; its result is pushed after `succeeded`."""
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
    AuthenticationError: "Sign in with `hf auth login`, or set HF_TOKEN",
    PermissionDenied: "Use a token that may write to the namespace and run jobs in it",
    NotFound: "Look at the namespace and the repository",
    QuotaExceeded: "Jobs need credits: add some to the namespace",
    RateLimited: "Wait a moment, then try again",
    InvalidRequest: "Correct the job",
    ServiceUnavailable: "Run `tunebridge jobs reconcile` to learn what happened",
}


def job_status(stage: str, word: str | None) -> JobStatus:
    """Return the JobStatus for the service's stage and the trainer's last word; `unknown` for a stage not known."""
    status = STATUS.get(stage, JobStatus.unknown)
    return TRAINER.get(word, status) if status == JobStatus.running else status


def backend_error(error: Exception, operation: str) -> BackendError:
    """Turn what the SDK raises into a BackendError, told apart by HTTP status and name without importing the SDK."""
    kind, said = _kind(error), _said(error)
    message = f"{said.rstrip('.')}. {ADVICE[kind]}."
    return kind(message, backend="huggingface", operation=operation, retry_after=_retry_after(error))


def _kind(error: Exception) -> type[BackendError]:
    name = type(error).__name__
    if name == "LocalTokenNotFoundError":
        return AuthenticationError
    if name in ("OfflineModeIsEnabled", "HFValidationError"):
        return InvalidRequest
    status = getattr(getattr(error, "response", None), "status_code", None)
    if not isinstance(status, int):
        return ServiceUnavailable  # no answer at all: what was done is not known
    return BY_STATUS.get(status, InvalidRequest if status < 500 else ServiceUnavailable)


def _said(error: Exception) -> str:
    kind, name = _kind(error), type(error).__name__
    if kind is AuthenticationError:
        return "there is no token, or it was refused"
    if name == "OfflineModeIsEnabled":
        return "HF_HUB_OFFLINE is set, so nothing can be asked; unset it"
    return str(getattr(error, "server_message", None) or name).strip()


def _retry_after(error: Exception) -> float | None:
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        return float(headers["retry-after"])
    except (KeyError, ValueError):
        return None
