"""The only importer of huggingface_hub here: jobs, repositories and prices, in plain values."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from tunebridge.errors import AuthenticationError, BackendError
from tunebridge_huggingface.status import backend_error

JOB_LABEL = "tunebridge_job"
"""Label that carries our id."""


@dataclass(frozen=True)
class Access:
    """With which token, and where; an unset address is the hub's own."""

    token: str
    endpoint: str | None = None


def connect(connection: Mapping[str, Any]) -> "Remote":
    """Return the hub with the token that `hf auth login` or HF_TOKEN left, for a job's namespace."""
    import huggingface_hub

    token = huggingface_hub.get_token()
    if not token:
        raise AuthenticationError(
            "there is no token. Sign in with `hf auth login`, or set HF_TOKEN.",
            backend="huggingface",
            operation="connect",
        )
    return Remote(Access(token), connection.get("namespace"))


class Remote:
    """The hub; every method raises BackendError and returns plain values."""

    def __init__(self, access: Access, namespace: str | None = None) -> None:
        from huggingface_hub import HfApi

        self._token = access.token
        self._hub = HfApi(endpoint=access.endpoint, token=access.token)
        self._namespace = namespace

    @property
    def namespace(self) -> str:
        """Who owns and pays: the connection's, or the token's user.

        It is passed with every call: without one, listing jobs would ask the SDK's own token and not this one.
        """
        if self._namespace is None:
            with translated("connect"):
                self._namespace = str(self._hub.whoami()["name"])
        return self._namespace

    # ---- jobs

    def create(self, asked: Mapping[str, Any], job_id: str) -> str:
        """Create a job with exactly one call and return its id; the token goes along as a secret."""
        from huggingface_hub import Volume

        with translated("submit"):
            made = self._hub.run_job(
                image=asked["image"],
                command=list(asked["command"]),
                env=dict(asked["environment"]),
                secrets={"HF_TOKEN": self._token},
                flavor=asked["flavor"],
                timeout=asked["timeout_seconds"],
                labels={JOB_LABEL: job_id, "name": job_id},
                volumes=[Volume(**volume) for volume in asked["volumes"]],
                namespace=self.namespace,
            )
        return str(made.id)

    def jobs(self, labels: Mapping[str, str] | None = None, operation: str = "list_jobs") -> Iterator[dict[str, Any]]:
        """Yield the namespace's jobs that carry these labels."""
        with translated(operation):
            for job in self._hub.list_jobs(labels=dict(labels) if labels else None, namespace=self.namespace):
                yield _plain(job)

    def job(self, identifier: str, operation: str = "poll") -> dict[str, Any]:
        """Return a job as the service knows it."""
        with translated(operation):
            return _plain(self._hub.inspect_job(job_id=identifier, namespace=self.namespace))

    def log(self, identifier: str) -> list[str]:
        """Return what the job said so far; the service gives the whole log each time."""
        with translated("poll"):
            return list(self._hub.fetch_job_logs(job_id=identifier, namespace=self.namespace))

    def cancel(self, identifier: str) -> None:
        """Ask for a job's end."""
        with translated("cancel"):
            self._hub.cancel_job(job_id=identifier, namespace=self.namespace)

    def prices(self, operation: str = "prices") -> dict[str, Decimal | None]:
        """Return USD per hour by the name of each machine, as the service bills now."""
        with translated(operation):
            return {found.name: _hourly(found) for found in self._hub.list_jobs_hardware()}

    # ---- repositories

    def upload(self, folder: Path, repository: str) -> str:
        """Upload a folder to a private dataset repository and return the commit."""
        with translated("upload"):
            self._hub.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
            made = self._hub.upload_folder(
                repo_id=repository, repo_type="dataset", folder_path=folder, commit_message="Add a TuneBridge job"
            )
        return str(made.oid)

    def files(self, repository: str, operation: str = "artifacts") -> tuple[str, dict[str, int]] | None:
        """Return a model repository's commit and the sizes of its files, None where there is no such repository."""
        from huggingface_hub.errors import RepositoryNotFoundError

        with translated(operation):
            try:
                found = self._hub.model_info(repository, files_metadata=True)
            except RepositoryNotFoundError:
                return None
        return str(found.sha), {one.rfilename: one.size or 0 for one in found.siblings or ()}

    def download(self, repository: str, commit: str, names: Sequence[str], folder: Path) -> None:
        """Download files of a model repository as they were at a commit."""
        with translated("download"):
            for name in names:
                self._hub.hf_hub_download(repository, name, revision=commit, local_dir=folder)

    def remove(self, repository: str, kind: str) -> None:
        """Delete a repository; one that is gone is no error."""
        with translated("delete"):
            self._hub.delete_repo(repository, repo_type=kind, missing_ok=True)


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Turn whatever the SDK raises inside the block into a BackendError."""
    try:
        yield
    except BackendError:
        raise
    except Exception as error:  # whatever the SDK raises becomes one of ours, and its text loses its traceback
        raise backend_error(error, operation) from None


def _plain(job: Any) -> dict[str, Any]:
    """Return what the backend needs of a job; command and environment stay where they are."""
    return {
        "id": str(job.id),
        "stage": str(getattr(job.status.stage, "value", job.status.stage)),
        "message": job.status.message,
        "labels": dict(job.labels or {}),
        "flavor": str(getattr(job.flavor, "value", job.flavor)),
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "durations": asdict(job.durations) if job.durations else {},
    }


def _hourly(hardware: Any) -> Decimal | None:
    """Return a price per hour, None in a unit that is not known."""
    units = {"minute": 60, "hour": 1, "second": 3600}
    if hardware.unit_label not in units or hardware.unit_cost_micro_usd is None:
        return None
    return Decimal(hardware.unit_cost_micro_usd) * units[hardware.unit_label] / 1_000_000
