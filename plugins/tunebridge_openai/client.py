"""The only importer of the OpenAI SDK: what the backend asks of a service, in plain values."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tunebridge.errors import AuthenticationError, BackendError
from tunebridge_openai import services
from tunebridge_openai.deployments import MANAGEMENT_SCOPE, Deployments
from tunebridge_openai.status import backend_error
from tunebridge_openai.translate import JOB_KEY

MULTIPART_MAX_BYTES = 100 * 2**20
"""Larger files go through the uploads API in parts: Azure was seen to lose them silently above some 150 MB."""
UPLOAD_RETRIES = 4
ENTRA_SCOPE = "https://cognitiveservices.azure.com/.default"
PAGE = 100


def connect(connection: Mapping[str, Any]) -> "Remote":
    """Return the service of a job's connection, with the key from the environment or the Entra chain."""
    return open_remote(connection, _credentials(services.service(connection.get("service", "openai")), connection))


def open_remote(connection: Mapping[str, Any], credentials: Mapping[str, Any]) -> "Remote":
    """Return the service at a connection's address, asked with these credentials."""
    import openai

    # The core retries reads and never a create; the SDK's own retries would send one create call three times.
    common: dict[str, Any] = {"max_retries": 0, **credentials}
    if connection.get("api_version"):
        endpoint = {"azure_endpoint": connection["base_url"], "api_version": connection["api_version"]}
        return Remote(openai.AzureOpenAI(**endpoint, **common))
    address = {name: connection[name] for name in ("base_url", "organization", "project") if connection.get(name)}
    return Remote(openai.OpenAI(**address, **common))


def _credentials(service: services.Service, connection: Mapping[str, Any]) -> dict[str, Any]:
    if connection.get("entra"):
        from azure.identity import DefaultAzureCredential, get_bearer_token_provider

        provider = get_bearer_token_provider(DefaultAzureCredential(), ENTRA_SCOPE)
        return {"azure_ad_token_provider" if connection.get("api_version") else "api_key": provider}
    variable = connection.get("key_variable") or service.key_variable
    key = os.environ.get(variable)
    if not key:
        raise AuthenticationError(
            f"there is no key for {service.title}. Set the environment variable {variable}.",
            backend="openai",
            operation="connect",
        )
    return {"api_key": key}


def deployments(connection: Mapping[str, Any]) -> Deployments:
    """Return the deployments of a connection's resource, asked with the Entra chain: no key opens them."""

    def token() -> str:
        from azure.identity import DefaultAzureCredential

        return str(DefaultAzureCredential().get_token(MANAGEMENT_SCOPE).token)

    return Deployments(connection, token)


class Remote:
    """A service of the dialect; every method raises BackendError and returns plain values."""

    def __init__(self, sdk: Any) -> None:
        self._sdk = sdk

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._sdk.close()

    def upload(self, path: Path, name: str) -> str:
        """Upload a file under a name that carries its digest and return its id; one that is there is used again."""
        with _translated("upload"):
            there = self._uploaded(name, path.stat().st_size)
            if there:
                return there
            patient = self._sdk.with_options(max_retries=UPLOAD_RETRIES)  # a second copy of a file costs nothing
            if path.stat().st_size > MULTIPART_MAX_BYTES:
                upload = patient.uploads.upload_file_chunked(
                    file=path, filename=name, mime_type="application/jsonl", purpose="fine-tune"
                )
                return str(upload.file.id)
            with path.open("rb") as file:
                return str(patient.files.create(file=(name, file), purpose="fine-tune").id)

    def create(self, body: Mapping[str, Any]) -> str:
        """Create a job with exactly one call and return its id."""
        known = dict(body)
        extra = {"trainingType": known.pop("trainingType")} if "trainingType" in known else None
        with _translated("submit"):
            return str(self._sdk.fine_tuning.jobs.create(**known, extra_body=extra).id)

    def find(self, job_id: str) -> str | None:
        """Return the id of the job that carries our id in its metadata, None where there is none."""
        with _translated("find"):
            # Not every service filters by metadata, so what comes back is looked at again.
            for job in self._sdk.fine_tuning.jobs.list(limit=PAGE, metadata={JOB_KEY: job_id}):
                if (job.metadata or {}).get(JOB_KEY) == job_id:
                    return str(job.id)
        return None

    def jobs(self) -> Iterator[dict[str, Any]]:
        """Yield every job of the project."""
        with _translated("list_jobs"):
            for job in self._sdk.fine_tuning.jobs.list(limit=PAGE):
                yield _plain(job)

    def job(self, backend_id: str, operation: str = "poll") -> dict[str, Any]:
        """Return a job as the service knows it."""
        with _translated(operation):
            return _plain(self._sdk.fine_tuning.jobs.retrieve(backend_id))

    def events(self, backend_id: str, last: str | None) -> list[dict[str, Any]]:
        """Return the events behind the one with the id `last`, oldest first; the service lists the newest first."""
        found: list[dict[str, Any]] = []
        with _translated("poll"):
            for event in self._sdk.fine_tuning.jobs.list_events(backend_id, limit=PAGE):
                if event.id == last:
                    break
                found.append(_plain(event))
        return found[::-1]

    def checkpoints(self, backend_id: str) -> list[dict[str, Any]]:
        """Return the checkpoints that the service keeps, oldest first."""
        with _translated("artifacts"):
            pages = self._sdk.fine_tuning.jobs.checkpoints.list(backend_id, limit=PAGE)
            return sorted((_plain(one) for one in pages), key=lambda one: one["step_number"])

    def act(self, verb: str, backend_id: str) -> None:
        """Ask for `cancel`, `pause` or `resume`."""
        with _translated(verb):
            getattr(self._sdk.fine_tuning.jobs, verb)(backend_id)

    def content(self, file_id: str) -> bytes:
        """Return a file's content."""
        with _translated("download"):
            content: bytes = self._sdk.with_options(max_retries=UPLOAD_RETRIES).files.content(file_id).read()
            return content

    def answer(self, model: str, messages: Sequence[Mapping[str, Any]], **parameters: Any) -> dict[str, Any]:
        """Let a model answer one conversation."""
        with _translated("generate"):
            return _plain(self._sdk.chat.completions.create(model=model, messages=list(messages), **parameters))

    def models(self) -> list[dict[str, Any]]:
        """Return the models that the key may use, with their shutdown dates where the service has any."""
        with _translated("check"):
            return [_plain(model) for model in self._sdk.models.list()]

    def delete_model(self, model: str) -> None:
        """Delete a tuned model."""
        with _translated("delete"):
            self._sdk.models.delete(model)

    def delete_file(self, file_id: str) -> None:
        """Delete an uploaded file."""
        with _translated("delete"):
            self._sdk.files.delete(file_id)

    def _uploaded(self, name: str, size: int) -> str | None:
        for file in self._sdk.files.list(purpose="fine-tune"):
            if file.filename == name and file.bytes == size and file.status != "error":
                return str(file.id)
        return None


@contextmanager
def _translated(operation: str) -> Iterator[None]:
    try:
        yield
    except BackendError:
        raise
    except Exception as error:  # whatever the SDK raises becomes one of ours, and its text loses its traceback
        raise backend_error(error, operation) from None


def _plain(value: Any) -> dict[str, Any]:
    plain: dict[str, Any] = value.to_dict()
    return plain
