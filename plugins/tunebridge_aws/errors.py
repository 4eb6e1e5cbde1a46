"""Amazon's errors -> BackendError: one total table by code, told apart without importing the SDK."""

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

BY_CODE: dict[str, type[BackendError]] = {
    **dict.fromkeys(
        (
            "ExpiredToken",
            "ExpiredTokenException",
            "IncompleteSignature",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "MissingAuthenticationToken",
            "SignatureDoesNotMatch",
            "UnrecognizedClientException",
        ),
        AuthenticationError,
    ),
    **dict.fromkeys(("403", "AccessDenied", "AccessDeniedException", "UnauthorizedOperation"), PermissionDenied),
    **dict.fromkeys(
        ("404", "NoSuchBucket", "NoSuchKey", "ResourceNotFound", "ResourceNotFoundException", "NotFoundException"),
        NotFound,
    ),
    **dict.fromkeys(
        ("LimitExceededException", "ResourceLimitExceeded", "ServiceQuotaExceededException"), QuotaExceeded
    ),
    **dict.fromkeys(
        (
            "RequestLimitExceeded",
            "SlowDown",
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "TooManyRequestsException",
        ),
        RateLimited,
    ),
}
"""Codes whose HTTP status would say too little; by status otherwise."""
NO_CREDENTIALS = frozenset(
    {
        "CredentialRetrievalError",
        "NoCredentialsError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "SSOTokenLoadError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
    }
)
"""Exceptions of the SDK that come before any call."""
OUR_FAULT = frozenset({"ParamValidationError", "NoRegionError", "InvalidRegionError"})
WRAPPERS = frozenset({"RetriesExceededError", "S3UploadFailedError"})
"""Exceptions of S3 transfers that hide the one that says why."""
MISSING = ("not found", "could not find", "does not exist")
"""SageMaker answers ValidationException for a job that is not there; its sentence tells it from others."""
ADVICE: dict[type[BackendError], str] = {
    AuthenticationError: "Renew the credentials (`aws sso login`, environment variables or a profile)",
    PermissionDenied: "Ask for the permission; docs/howto/backends lists those that are needed",
    NotFound: "Look at the name, the region and the account",
    QuotaExceeded: "Ask for a higher service quota, or choose another instance or region",
    RateLimited: "Wait a moment, then try again",
    InvalidRequest: "Correct the job",
    ServiceUnavailable: "Run `tunebridge jobs reconcile` to learn what happened",
}


def backend_error(error: Exception, *, backend: str, operation: str) -> BackendError:
    """Turn what boto3 raises into a BackendError; the text of a refused credential is not repeated."""
    if isinstance(error, BackendError):
        return error
    if type(error).__name__ in WRAPPERS and isinstance(error.__context__, Exception):
        return backend_error(error.__context__, backend=backend, operation=operation)
    kind = _kind(error)
    message = f"{_said(error, kind)} {ADVICE[kind]}."
    metadata = _response(error).get("ResponseMetadata", {})
    return kind(
        message,
        backend=backend,
        operation=operation,
        retry_after=_retry_after(metadata),
        request_id=metadata.get("RequestId"),
    )


def error_code(error: Exception) -> str:
    """Return the service's own code of an error, an empty text where there is none."""
    return str(_response(error).get("Error", {}).get("Code", ""))


def _kind(error: Exception) -> type[BackendError]:
    code, name = error_code(error), type(error).__name__
    if not code:
        if name in NO_CREDENTIALS:
            return AuthenticationError
        return InvalidRequest if name in OUR_FAULT else ServiceUnavailable
    if code in BY_CODE:
        return BY_CODE[code]
    if code == "ValidationException" and any(words in str(error).lower() for words in MISSING):
        return NotFound
    status = _response(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return InvalidRequest if 400 <= status < 500 else ServiceUnavailable


def _said(error: Exception, kind: type[BackendError]) -> str:
    if kind is AuthenticationError:
        return f"the credentials were refused or are missing ({error_code(error) or type(error).__name__})."
    code, message = error_code(error), _response(error).get("Error", {}).get("Message")
    if not code:
        return f"{str(error).strip().rstrip('.')}." if kind is InvalidRequest else f"{type(error).__name__}."
    return f"{code}: {str(message or 'no reason was given').strip().rstrip('.')}."


def _response(error: Exception) -> dict[str, Any]:
    response = getattr(error, "response", None)
    return response if isinstance(response, dict) else {}


def _retry_after(metadata: dict[str, Any]) -> float | None:
    try:
        return float(metadata["HTTPHeaders"]["retry-after"])
    except (KeyError, ValueError):
        return None
