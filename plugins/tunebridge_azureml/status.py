"""Two total tables: the service's states -> JobStatus, its errors -> BackendError."""

import re
from collections.abc import Iterator
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
    "Created": JobStatus.queued,
    "NotStarted": JobStatus.queued,
    "Queued": JobStatus.queued,
    "Starting": JobStatus.preparing,
    "Provisioning": JobStatus.preparing,
    "Preparing": JobStatus.preparing,
    "Running": JobStatus.running,
    "NotResponding": JobStatus.running,
    "Paused": JobStatus.paused,
    "Finalizing": JobStatus.finalizing,
    "CancelRequested": JobStatus.cancelling,
    "Completed": JobStatus.succeeded,
    "Failed": JobStatus.failed,
    "Canceled": JobStatus.cancelled,
}
"""`Unknown`, the service's own word, stays unknown. A machine that does not respond may come back to any state."""
BY_STATUS: dict[int, type[BackendError]] = {
    400: InvalidRequest,
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    408: ServiceUnavailable,
    429: RateLimited,
}
ADVICE: dict[type[BackendError], str] = {
    AuthenticationError: "Sign in with `az login`, or set the environment variables of a service principal",
    PermissionDenied: "Ask for the role AzureML Data Scientist in the workspace",
    NotFound: "Look at the names of subscription, resource group and workspace",
    QuotaExceeded: "Ask for more quota of this machine type in this region, or choose another one",
    RateLimited: "Wait a moment, then try again",
    InvalidRequest: "Correct the job",
    ServiceUnavailable: "Run `tunebridge jobs reconcile` to learn what happened",
}
SIGNATURE = re.compile(r"sig=[^&\s'\"]+")
SIGN_IN = "the credentials were refused, or there are none."


def job_status(word: str) -> JobStatus:
    """Return the JobStatus for the service's word, `unknown` for one that is not in the table."""
    return STATUS.get(word, JobStatus.unknown)


def backend_error(error: Exception, operation: str) -> BackendError:
    """Turn what the SDK raises into a BackendError; told apart by status, code and name, without importing the SDK."""
    answered = next((cause for cause in _causes(error) if getattr(cause, "status_code", None)), error)
    code = str(getattr(getattr(answered, "error", None), "code", None) or "")
    kind = _kind(answered, code)
    message = f"{_said(answered, kind)} {ADVICE[kind]}."
    headers = getattr(getattr(answered, "response", None), "headers", None) or {}
    return kind(
        message,
        backend="azureml",
        operation=operation,
        retry_after=_seconds(headers.get("Retry-After")),
        request_id=headers.get("x-ms-request-id"),
    )


def _kind(error: BaseException, code: str) -> type[BackendError]:
    names = {kind.__name__ for kind in type(error).__mro__}
    if "ClientAuthenticationError" in names:
        return AuthenticationError
    if "quota" in code.lower():
        return QuotaExceeded
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return BY_STATUS.get(status, InvalidRequest if status < 500 else ServiceUnavailable)
    # What the SDK finds wrong by itself was never sent; anything else was lost on the way.
    return InvalidRequest if {"MlException", "ValidationError"} & names else ServiceUnavailable


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that led to it: the SDK wraps what the service answered."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _said(error: BaseException, kind: type[BackendError]) -> str:
    """Return one line of what the service or the SDK says; not of refused credentials, and never a signature.

    What is said of a lost connection names the address that was asked, so only its type is kept.
    """
    if kind is AuthenticationError:
        return SIGN_IN
    told: Any = getattr(getattr(error, "error", None), "message", None)
    if told is None and (getattr(error, "status_code", None) or kind is InvalidRequest):
        told = getattr(error, "message", None)
    first = str(told or "").strip().split("\n")[0].rstrip(".")
    return f"{SIGNATURE.sub('sig=...', first) or type(error).__name__}."


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
