"""Every error that TuneBridge raises on purpose.

    TuneBridgeError
    ├── SpecError                  the job file is wrong               (.file .line .key)
    ├── DataError                  a data file or row is wrong         (.file .line .code)
    │   └── MissingPackage         what reads it is not installed      (.install_command)
    ├── PlanError                  the job cannot be planned
    │   └── UnsupportedFeature     the backend does not offer it       (.feature .backend .supported_by)
    ├── PluginError                a plugin is broken or absent
    │   ├── BackendNotFound        no backend of that name
    │   └── MissingDependency      an extra is not installed           (.install_command)
    ├── StoreError                 the job store cannot be used
    │   ├── JobNotFound            no job of that id
    │   └── DuplicateJob           the same plan is already running    (.job_id)
    ├── BackendError               the backend refused or failed       (.backend .operation .retryable ...)
    │   ├── AuthenticationError    no or bad credentials
    │   ├── PermissionDenied       the credentials may not do this
    │   ├── NotFound               the remote thing does not exist
    │   ├── QuotaExceeded          an account limit is reached
    │   ├── RateLimited            asked to slow down                  (.retry_after)
    │   ├── InvalidRequest         the backend rejected the request
    │   ├── ServiceUnavailable     the outcome is unknown; try again
    │   └── TrainingUnavailable    the service no longer trains        (.since)
    ├── JobFailed                  a job ended without a result        (.job_id)
    ├── JobTimeout                 waiting took longer than allowed    (.job_id)
    ├── BudgetExceeded             the job would cost more than the cap
    └── EvaluationError            an evaluation cannot be made

The last sentence of a message says what to do. To add an error: derive it from the class that
callers would catch for it, give it its exit code only if it differs, and draw it above.
"""

from datetime import date
from pathlib import Path
from typing import ClassVar


class TuneBridgeError(Exception):
    """Base of all errors raised by TuneBridge."""

    exit_code: ClassVar[int] = 2
    """Exit status of the command line: 1 the backend failed, 2 the user can fix it, 3 a gate said no."""


class SpecError(TuneBridgeError):
    """The job file or an override is wrong."""

    def __init__(
        self, message: str, *, file: Path | str | None = None, line: int | None = None, key: str | None = None
    ) -> None:
        self.file, self.line, self.key = file, line, key
        super().__init__(f"{_place(file, line)}{message}")


class DataError(TuneBridgeError):
    """A data file or one of its rows is wrong."""

    def __init__(
        self,
        message: str,
        *,
        file: Path | str | None = None,
        line: int | None = None,
        code: str | None = None,
    ) -> None:
        self.file, self.line, self.code, self.message = file, line, code, message
        super().__init__(f"{_place(file, line)}{message}")


class MissingPackage(DataError):
    """A package that reads this kind of file is not installed."""

    def __init__(self, package: str, *, file: Path | str) -> None:
        self.package = package
        self.install_command = 'pip install "tunebridge[data]"'
        super().__init__(
            f"reading it needs the package {package!r}, which is not installed. Install it with: "
            f'{self.install_command}   (from a clone: pip install -e ".[data]")',
            file=file,
        )


class PlanError(TuneBridgeError):
    """The job cannot be planned for this backend."""


class UnsupportedFeature(PlanError):
    """The backend does not offer what the job asks for."""

    def __init__(self, message: str, *, feature: str, backend: str, supported_by: tuple[str, ...] = ()) -> None:
        self.feature, self.backend, self.supported_by = feature, backend, supported_by
        super().__init__(message)


class PluginError(TuneBridgeError):
    """A plugin is broken or absent."""


class BackendNotFound(PluginError):
    """No installed plugin brings a backend of that name."""


class MissingDependency(PluginError):
    """A package that a backend, or what was asked for, needs is not installed."""

    def __init__(self, package: str, *, backend: str | None = None, extra: str | None) -> None:
        self.package, self.backend = package, backend
        self.install_command = f'pip install "tunebridge[{extra}]"' if extra else f"pip install {package}"
        super().__init__(
            f"{f'The {backend} backend' if backend else 'This'} needs the package {package!r}, which is not installed. "
            f'Install it with: {self.install_command}   (from a clone: pip install -e ".[{extra or package}]")'
        )


class StoreError(TuneBridgeError):
    """The job store cannot be read or written."""


class JobNotFound(StoreError):
    """The store has no job of that id."""


class DuplicateJob(StoreError):
    """A job with the same plan has not ended yet."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(
            f"Job {job_id} has the same plan and has not ended, so nothing was submitted. "
            f"Follow it with `tunebridge jobs watch {job_id}`, or pass --again to run the plan a second time."
        )


class BackendError(TuneBridgeError):
    """The backend refused a request or failed to answer it."""

    exit_code = 1
    retryable: ClassVar[bool] = False
    """Whether the same call may succeed later without a change."""
    outcome_unknown: ClassVar[bool] = True
    """Whether a create that ended so may have taken effect: then `find` decides, never a blind retry."""

    def __init__(
        self,
        message: str,
        *,
        backend: str,
        operation: str,
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        self.backend, self.operation = backend, operation
        self.retry_after, self.request_id = retry_after, request_id
        super().__init__(f"{backend}: {operation}: {message}")


class AuthenticationError(BackendError):
    """The credentials are missing, wrong or expired."""

    exit_code = 2
    outcome_unknown = False


class PermissionDenied(BackendError):
    """The credentials are valid but may not do this."""

    exit_code = 2
    outcome_unknown = False


class NotFound(BackendError):
    """The remote job, file or model does not exist."""

    outcome_unknown = False


class QuotaExceeded(BackendError):
    """A limit of the account is reached."""

    outcome_unknown = False


class RateLimited(BackendError):
    """The backend asked to slow down; `retry_after` is in seconds where it said."""

    retryable = True
    outcome_unknown = False


class InvalidRequest(BackendError):
    """The backend understood the request and rejected it."""

    exit_code = 2
    outcome_unknown = False


class ServiceUnavailable(BackendError):
    """The backend did not answer, or answered that it failed: what it did is not known."""

    retryable = True


class TrainingUnavailable(BackendError):
    """The service does not train models any more, or not for this account."""

    outcome_unknown = False

    def __init__(self, message: str, *, backend: str, operation: str, since: date | None = None) -> None:
        self.since = since
        super().__init__(message, backend=backend, operation=operation)


class JobFailed(TuneBridgeError):
    """A job ended without a result."""

    exit_code = 1

    def __init__(self, message: str, *, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(message)


class JobTimeout(TuneBridgeError):
    """Waiting for a job took longer than allowed; the job itself goes on."""

    exit_code = 1

    def __init__(self, message: str, *, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(message)


class BudgetExceeded(TuneBridgeError):
    """The job would cost, or has cost, more than its cap."""

    exit_code = 3


class EvaluationError(TuneBridgeError):
    """An evaluation or comparison cannot be made."""


def _place(file: Path | str | None, line: int | None) -> str:
    if file is None:
        return ""
    return f"{file}:{line}: " if line is not None else f"{file}: "
