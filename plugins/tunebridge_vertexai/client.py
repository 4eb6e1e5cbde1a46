"""The only importer of Google's SDKs: what the backend asks of Vertex AI and Cloud Storage, in plain values."""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tunebridge.errors import AuthenticationError, BackendError
from tunebridge_vertexai.status import backend_error

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
DEFAULT_LOCATION = "us-central1"
PAGE = 100
CREATE_SECONDS = 60.0


@dataclass(frozen=True)
class Access:
    """With which credentials, and where: unset addresses are Google's own."""

    credentials: Any
    project: str
    location: str
    vertex_url: str | None = None
    storage_url: str | None = None


def connect(connection: Mapping[str, Any]) -> "Remote":
    """Return the service of a job's connection, with the Application Default Credentials.

    Without a connection, project and region come from the environment as Google's own tools read them.
    """
    import google.auth

    with translated("connect"):
        credentials, default = google.auth.default(scopes=[SCOPE])
    project = connection.get("project") or os.environ.get("GOOGLE_CLOUD_PROJECT") or default
    if not project:
        raise AuthenticationError(
            "no Google Cloud project is known. Set the environment variable GOOGLE_CLOUD_PROJECT.",
            backend="vertexai",
            operation="connect",
        )
    location = connection.get("location") or os.environ.get("GOOGLE_CLOUD_LOCATION") or DEFAULT_LOCATION
    return Remote(Access(credentials, project, location))


def location_of(name: str) -> str | None:
    """Return the region in a resource name: a job sent to `global` comes back with a real one."""
    parts = name.split("/")
    return parts[3] if len(parts) > 3 and parts[0] == "projects" and parts[2] == "locations" else None


class Remote:
    """Tuning jobs, models and objects; every method raises BackendError and returns plain values."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._clients: dict[str, Any] = {}
        self._storage: Any = None
        self._jobs: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for client in (*self._clients.values(), self._storage, self._jobs and self._jobs.transport):
            if client is not None:
                client.close()

    # ---- tuning

    def create(self, asked: Mapping[str, Any]) -> str:
        """Create a tuning job with exactly one call and return its resource name."""
        from google.genai import types

        with translated("submit"), _quiet():
            # A plain dictionary would lose pre_tuned_model_checkpoint_id on its way through the SDK.
            config = types.CreateTuningJobConfig.model_validate(asked["config"])
            made = self._vertex().tunings.tune(
                base_model=asked["base_model"],
                training_dataset=types.TuningDataset.model_validate(asked["training_dataset"]),
                config=config,
            )
        return str(made.name)

    def jobs(self, location: str | None = None, operation: str = "list_jobs") -> list[dict[str, Any]]:
        """Return every tuning job of a region."""
        with translated(operation), _quiet():
            return [_plain(job) for job in self._vertex(location).tunings.list(config={"page_size": PAGE})]

    def reach(self) -> None:
        """Ask for one job of the region, to learn whether the service answers to these credentials."""
        with translated("check"), _quiet():
            self._vertex().tunings.list(config={"page_size": 1})

    def job(self, name: str, operation: str = "poll") -> dict[str, Any]:
        """Return a tuning job as the service knows it."""
        with translated(operation), _quiet():
            return _plain(self._vertex(location_of(name)).tunings.get(name=name))

    def cancel(self, name: str) -> None:
        """Ask for a tuning job's end."""
        with translated("cancel"):
            self._vertex(location_of(name)).tunings.cancel(name=name)

    def answer(self, model: str, turns: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> dict[str, Any]:
        """Let a model or a tuned model's endpoint answer one conversation."""
        with translated("generate"):
            client = self._vertex(location_of(model))
            return _plain(client.models.generate_content(model=model, contents=list(turns), config=dict(config)))

    # ---- custom jobs

    def create_custom_job(self, asked: Mapping[str, Any]) -> str:
        """Create a custom job with exactly one call and return its resource name."""
        with translated("submit"):
            made = self._machines().create_custom_job(
                parent=self._parent(), custom_job=dict(asked), retry=None, timeout=CREATE_SECONDS
            )
        return str(made.name)

    def custom_jobs(self, operation: str = "list_jobs") -> list[dict[str, Any]]:
        """Return every custom job of the region."""
        with translated(operation):
            return [_custom(job) for job in self._machines().list_custom_jobs(parent=self._parent())]

    def custom_job(self, name: str, operation: str = "poll") -> dict[str, Any]:
        """Return a custom job as the service knows it."""
        with translated(operation):
            return _custom(self._machines().get_custom_job(name=name))

    def cancel_custom_job(self, name: str) -> None:
        """Ask for a custom job's end."""
        with translated("cancel"):
            self._machines().cancel_custom_job(name=name)

    # ---- Cloud Storage

    def upload(self, path: Path, uri: str) -> None:
        """Upload a file; the SDK sends large ones in parts that it can resume, and compares checksums."""
        with translated("upload"):
            self._object(uri).upload_from_filename(str(path), checksum="crc32c")

    def download(self, uri: str, path: Path) -> None:
        """Download an object; the SDK compares checksums."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with translated("download"):
            self._object(uri).download_to_filename(str(path), checksum="crc32c")

    def read(self, uri: str, operation: str = "poll") -> bytes | None:
        """Return a small object's content, None where there is no such object."""
        with translated(operation):
            try:
                content: bytes = self._object(uri).download_as_bytes(checksum="crc32c")
            except Exception as error:
                if getattr(error, "code", None) == 404:
                    return None
                raise
        return content

    def objects(self, uri: str, operation: str = "artifacts") -> dict[str, int]:
        """Return the size of every object under a folder, by the name below it."""
        bucket, prefix = split_uri(f"{uri.rstrip('/')}/")
        with translated(operation):
            found = self._store().list_blobs(bucket, prefix=prefix)
            return {blob.name.removeprefix(prefix): blob.size or 0 for blob in found if blob.name != prefix}

    def remove(self, uri: str) -> None:
        """Delete every object under a folder."""
        for name in self.objects(uri, "delete"):
            with translated("delete"):
                self._object(f"{uri.rstrip('/')}/{name}").delete()

    def _object(self, uri: str) -> Any:
        bucket, name = split_uri(uri)
        return self._store().bucket(bucket).blob(name)

    def _parent(self) -> str:
        return f"projects/{self.access.project}/locations/{self.access.location}"

    def _machines(self) -> Any:
        """Return the service's own client: `CustomJob` is the same call behind settings of the whole process."""
        if self._jobs is None:
            from google.cloud.aiplatform_v1 import JobServiceClient
            from google.cloud.aiplatform_v1.services.job_service.transports.rest import JobServiceRestTransport

            host = f"{self.access.location}-aiplatform.googleapis.com"
            scheme, _, place = (self.access.vertex_url or f"https://{host}").partition("://")
            transport = JobServiceRestTransport(host=place, url_scheme=scheme, credentials=self.access.credentials)
            self._jobs = JobServiceClient(transport=transport)
        return self._jobs

    def _store(self) -> Any:
        if self._storage is None:
            from google.cloud import storage  # type: ignore[attr-defined]  # a package of another distribution

            endpoint = {"client_options": {"api_endpoint": self.access.storage_url}} if self.access.storage_url else {}
            self._storage = storage.Client(project=self.access.project, credentials=self.access.credentials, **endpoint)
        return self._storage

    def _vertex(self, location: str | None = None) -> Any:
        place = location or self.access.location
        if place not in self._clients:
            from google import genai

            # Without retry options the SDK makes one attempt; the core retries reads and never a create.
            options = {"base_url": self.access.vertex_url} if self.access.vertex_url else None
            self._clients[place] = genai.Client(
                vertexai=True,
                credentials=self.access.credentials,
                project=self.access.project,
                location=place,
                http_options=options,  # type: ignore[arg-type]  # the SDK takes its options as a dictionary, too
            )
        return self._clients[place]


def split_uri(uri: str) -> tuple[str, str]:
    """Return bucket and name of a `gs://` address."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return bucket, name


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Turn whatever the SDKs raise inside the block into a BackendError."""
    try:
        yield
    except BackendError:
        raise
    except Exception as error:  # whatever the SDK raises becomes one of ours, and its text loses its traceback
        raise backend_error(error, operation) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the SDK warns of: that its tuning is experimental, and words that it does not know yet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _custom(job: Any) -> dict[str, Any]:
    """Return what the backend needs of a custom job; a state that the SDK does not know stays as it came."""
    state = getattr(job.state, "name", None) or f"JOB_STATE_{int(job.state)}"
    seconds = (job.end_time - job.start_time).total_seconds() if job.start_time and job.end_time else None
    error = job.error.message or None
    return {"name": job.name, "state": state, "labels": dict(job.labels), "seconds": seconds, "error": error}


def _plain(value: Any) -> dict[str, Any]:
    plain: dict[str, Any] = value.model_dump(mode="json", exclude_none=True)
    return plain
