"""The only importer of Azure's SDKs: what the backend asks of a workspace, in plain values."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tunebridge.errors import BackendError, InvalidRequest, NotFound, StoreError
from tunebridge_azureml import endpoint
from tunebridge_azureml.environment import NO_GIT, contained
from tunebridge_azureml.jobs import command_job, finetuning_job
from tunebridge_azureml.status import backend_error

WORKSPACE_VARIABLES = {
    "subscription": "AZUREML_ARM_SUBSCRIPTION",
    "resource_group": "AZUREML_ARM_RESOURCEGROUP",
    "workspace": "AZUREML_ARM_WORKSPACE_NAME",
}
"""Azure ML's own variables; asked only where no job says which workspace is meant."""
ENDPOINT_SECONDS = 900.0
"""How long an endpoint, which has no machine yet, may take to be made."""
MAIN_LOG = "user_logs/std_log"
"""Beginning of the name of the log that carries what the job's command writes."""


class State(NamedTuple):
    """What the service says of a job."""

    word: str
    error: str | None
    seconds: float | None
    """From start to end, where both are known."""
    log: str | None
    """Address of the log that carries what the command writes, with a token in it; not there from the beginning."""


def connect(connection: Mapping[str, Any]) -> "Remote":
    """Return the workspace of a job's connection, with whatever credential Azure's default chain finds."""
    from azure.identity import DefaultAzureCredential

    with _translated("connect"):
        return open_remote(_workspace(connection), DefaultAzureCredential())


def open_remote(
    connection: Mapping[str, Any],
    credential: Any,
    *,
    cloud: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
) -> "Remote":
    """Return a workspace, asked with a credential; `cloud` and `variables` point to another Azure than the public."""
    with contained(variables or {}):
        from azure.ai.ml import MLClient

        client = MLClient(
            credential,
            connection["subscription"],
            connection["resource_group"],
            connection["workspace"],
            enable_telemetry=False,
            show_progress=False,
            # The core retries reads, and looks for a job before it creates one again.
            retry_total=0,
            **(cloud or {}),
        )
    return Remote(client, credential, variables or {}, connection.get("datastore", "workspaceblobstore"))


class Remote:
    """A workspace; every method raises BackendError and returns plain values."""

    def __init__(self, sdk: Any, credential: Any, variables: Mapping[str, str], datastore: str) -> None:
        self._sdk, self._credential, self._datastore = sdk, credential, datastore
        self._variables = {"AZUREML_CURRENT_CLOUD": sdk._cloud, **variables}

    def create_command(self, name: str, source: Path, run: Path, request: Mapping[str, Any]) -> str:
        """Upload source and run folder, then create a command job under a name with one call."""
        return self._create(command_job(name, source, run, self.work_uri(name), request), request)

    def create_finetuning(self, name: str, rows: Mapping[str, Path], request: Mapping[str, Any]) -> str:
        """Upload rows by split, then create a managed job under a name with one call."""
        return self._create(finetuning_job(name, rows, request), request)

    def state(self, name: str, operation: str = "poll") -> State:
        """Return a job's state; NotFound where there is no job of that name."""
        with self._asked(operation):
            word = _word(self._sdk.jobs.get(name))
            details = self._details(name)
        return State(word, _error(details), _seconds(details), _log(details))

    def find(self, name: str) -> str | None:
        """Return the name where there is a job of it."""
        try:
            with self._asked("find"):
                return str(self._sdk.jobs.get(name).name)
        except NotFound:
            return None

    def log(self, address: str, start: int) -> bytes:
        """Return a log behind a byte, as far as the service has it."""
        from azure.storage.blob import BlobClient

        with self._asked("poll"), BlobClient.from_blob_url(address) as blob:
            if int(blob.get_blob_properties().size) <= start:
                return b""
            content: bytes = blob.download_blob(offset=start).readall()
            return content

    def cancel(self, name: str) -> None:
        """Ask for a job's end."""
        with self._asked("cancel"):
            self._sdk.jobs.begin_cancel(name, polling=False)

    def jobs(self) -> Iterator[tuple[str, str]]:
        """Yield name and state of every job of the workspace."""
        with self._asked("list_jobs"):
            found = [(str(job.name), _word(job)) for job in self._sdk.jobs.list()]
        yield from found

    def check(self) -> str:
        """Return the workspace's name and region."""
        with self._asked("check"):
            workspace = self._sdk.workspaces.get(self._sdk.workspace_name)
        return f"{workspace.name} in {workspace.location}"

    def work_uri(self, name: str) -> str:
        """Return where a job works and leaves its results."""
        return f"azureml://datastores/{self._datastore}/paths/{work_prefix(name)}"

    def work_file(self, name: str, path: str) -> bytes | None:
        """Return a file of a job's working folder, None where it is not there."""
        from azure.core.exceptions import ResourceNotFoundError

        with self._asked("artifacts"), self._container() as container:
            try:
                content: bytes = container.download_blob(work_prefix(name) + path).readall()
            except ResourceNotFoundError:
                return None
            return content

    def download(self, name: str, folder: str, target: Path) -> None:
        """Copy a folder of a job's working folder; StoreError where a name would lead out of `target`."""
        prefix = f"{work_prefix(name)}{folder}/"
        with self._asked("download"), self._container() as container:
            names = [blob.name for blob in container.list_blobs(name_starts_with=prefix) if blob.name != prefix]
            paths = {name: inside(target, name.removeprefix(prefix)) for name in names}
            for blob, path in paths.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    container.download_blob(blob).readinto(file)

    def delete(self, name: str) -> None:
        """Delete a job's working folder; the service keeps the record of the job."""
        with self._asked("delete"), self._container() as container:
            for blob in list(container.list_blobs(name_starts_with=work_prefix(name))):
                container.delete_blob(blob.name)

    def machine(self, name: str) -> str:
        """Return the type of the machine that a job ran on."""
        with self._asked("deploy"):
            job = self._sdk.jobs.get(name)
            if job.compute:
                return str(self._sdk.compute.get(job.compute).size)
            return str(job.resources.instance_type)

    def deploy(self, name: str, code: Path, model_uri: str, machine: str) -> None:
        """Make an endpoint and order its deployment, which takes minutes and is not waited for."""
        with self._asked("deploy"), contained(NO_GIT):
            made = self._sdk.online_endpoints.begin_create_or_update(endpoint.online_endpoint(name))
            made.result(timeout=ENDPOINT_SECONDS)
            self._register(endpoint.model(name, model_uri))
            wanted = endpoint.online_deployment(name, code, machine)
            with _without_waiting():
                self._sdk.online_deployments.begin_create_or_update(wanted, skip_script_validation=True)

    def endpoint(self, name: str) -> str | None:
        """Return the state of an endpoint's deployment, None where there is none."""
        try:
            with self._asked("deploy"):
                found = self._sdk.online_deployments.get(endpoint.DEPLOYMENT, name)
        except NotFound:
            return None
        return _text(found.provisioning_state)

    def invoke(self, name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return what an endpoint answers."""
        with self._asked("generate"), tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(asked, file)
            file.flush()
            text = self._sdk.online_endpoints.invoke(name, request_file=file.name, deployment_name=endpoint.DEPLOYMENT)
        answer: dict[str, Any] = json.loads(text)
        return answer

    def undeploy(self, name: str) -> None:
        """Remove an endpoint with its deployment; one that is gone is no error."""
        try:
            with self._asked("deploy"):
                self._sdk.online_endpoints.begin_delete(name).result(timeout=ENDPOINT_SECONDS)
        except NotFound:
            return

    def _register(self, model: Any) -> None:
        """Register a model, unless an earlier attempt has."""
        from azure.core.exceptions import ResourceNotFoundError

        try:
            self._sdk.models.get(model.name, version=model.version)
        except ResourceNotFoundError:
            self._sdk.models.create_or_update(model)

    def _create(self, job: Any, request: Mapping[str, Any]) -> str:
        git = {} if request.get("git_details") else NO_GIT
        with self._asked("submit"), contained(git):
            return str(self._sdk.jobs.create_or_update(job).name)

    def _details(self, name: str) -> Any:
        """Return the run history of a job, None where it has none yet."""
        from azure.core.exceptions import ResourceNotFoundError

        try:
            # What the SDK's own `stream` asks; it has no public call that returns a log.
            return self._sdk.jobs._runs_operations.get_run_details(name)
        except ResourceNotFoundError:
            return None

    def _container(self) -> Any:
        from azure.ai.ml._azure_environments import _get_cloud_details
        from azure.storage.blob import ContainerClient

        store = self._sdk.datastores.get(self._datastore, include_secrets=True)
        secret = getattr(store.credentials, "sas_token", None) or getattr(store.credentials, "account_key", None)
        account = f"https://{store.account_name}.blob.{_get_cloud_details()['storage_endpoint']}"
        return ContainerClient(account, store.container_name, credential=secret or self._credential)

    @contextmanager
    def _asked(self, operation: str) -> Iterator[None]:
        with _translated(operation), contained(self._variables):
            yield


def work_prefix(name: str) -> str:
    """Return the blob prefix of a job's working folder."""
    return f"tunebridge/{name}/"


def inside(folder: Path, relative: str) -> Path:
    """Return the path below a folder that a blob's name means; StoreError where it leads elsewhere."""
    parts = PurePosixPath(relative).parts
    if not parts or relative.startswith("/") or ".." in parts or "\\" in relative or ":" in relative:
        raise StoreError(f"the stored name {relative!r} leads out of the folder. Look at the job's files by hand.")
    return folder.joinpath(*parts)


def _workspace(connection: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: connection.get(name) or os.environ.get(variable) for name, variable in WORKSPACE_VARIABLES.items()}
    missing = [WORKSPACE_VARIABLES[name] for name, value in known.items() if not value]
    if missing:
        raise InvalidRequest(
            f"no workspace is named. Set {', '.join(missing)}, or ask about a job, which names its own.",
            backend="azureml",
            operation="connect",
        )
    return {**connection, **known}


def _word(job: Any) -> str:
    return _text(job.status)


def _text(word: Any) -> str:
    return str(getattr(word, "value", word))  # an enumeration, or a word that the SDK does not know


def _error(details: Any) -> str | None:
    found = getattr(getattr(details, "error", None), "error", None)
    return getattr(found, "message", None)


def _log(details: Any) -> str | None:
    logs = dict(getattr(details, "log_files", None) or {})
    return next((str(logs[name]) for name in sorted(logs) if name.startswith(MAIN_LOG)), None)


def _seconds(details: Any) -> float | None:
    start, end = (getattr(details, name, None) for name in ("start_time_utc", "end_time_utc"))
    return (end - start).total_seconds() if start and end else None


@contextmanager
def _without_waiting() -> Iterator[None]:
    """Let the SDK order a deployment without the thread in which it would ask for its end and print dots."""
    from azure.ai.ml.operations import _online_deployment_operations as operations
    from azure.core.polling import NoPolling

    polling = operations.AzureMLPolling
    operations.AzureMLPolling = lambda *arguments, **options: NoPolling()
    try:
        yield
    finally:
        operations.AzureMLPolling = polling


@contextmanager
def _translated(operation: str) -> Iterator[None]:
    try:
        yield
    except (BackendError, StoreError):
        raise
    except Exception as error:  # whatever the SDK raises becomes one of ours, and its text loses its traceback
        raise backend_error(error, operation) from None
