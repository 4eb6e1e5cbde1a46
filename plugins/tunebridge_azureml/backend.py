"""Azure ML as a backend: one PUT under our own name, state and log by cursor, results from the datastore."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunebridge import digests
from tunebridge.backend import Backend, Check, Generation, GenerationParameters, RemoteJob
from tunebridge.data.dataset import Dataset
from tunebridge.data.example import Message
from tunebridge.errors import BackendError, NotFound, StoreError
from tunebridge.job import Artifact, Deployment, Job, Snapshot
from tunebridge.plan import Plan
from tunebridge.spec import JobSpec
from tunebridge.training.answer import answer, read_answers, request_body
from tunebridge.training.bundle import write_bundle
from tunebridge.training.config import ADAPTER_FOLDER, RESULT_FILE, RunConfig
from tunebridge_azureml import client, endpoint
from tunebridge_azureml.follow import follow
from tunebridge_azureml.info import INFO
from tunebridge_azureml.jobs import model_name
from tunebridge_azureml.rows import write_rows
from tunebridge_azureml.status import backend_error
from tunebridge_azureml.translate import translate

OURS = "tb-"
"""How the names of our jobs begin."""


class AzureMLBackend(Backend):
    """Trains in an Azure ML workspace; the job's connection says in which one and in which mode."""

    info = INFO

    def __init__(self, connect: Callable[[Mapping[str, Any]], client.Remote] = client.connect) -> None:
        self._open, self._remotes = connect, dict[str, client.Remote]()

    def plan(self, spec: JobSpec, dataset: Dataset) -> Plan:
        """Translate a job into a command job or a managed fine-tuning job."""
        return translate(spec, dataset, self.info.capabilities)

    def submit(self, plan: Plan, job: Job) -> str:
        """Upload what the job needs, then create it under our id as its name."""
        remote, request = self._connect(job.connection), plan.payload["request"]
        if plan.connection["mode"] == "finetuning":
            return remote.create_finetuning(job.id, write_rows(job.folder, request["task"]), request)
        run = RunConfig.model_validate({"job_id": job.id, **plan.payload["run"]})
        bundle = write_bundle(job.folder / "bundle", run, job.folder)
        return remote.create_command(job.id, bundle.source, bundle.run, request)

    def find(self, job: Job) -> str | None:
        """Look for the job of our name."""
        return self._connect(job.connection).find(job.id)

    def poll(self, job: Job, cursor: str | None) -> Snapshot:
        """Return the job's state and what its log says behind the cursor, a byte of it."""
        remote = self._connect(job.connection)
        state = remote.state(_name(job))  # before the log: what the command wrote last is then surely read
        return follow(state, cursor, lambda start: remote.log(state.log, start) if state.log else b"")

    def cancel(self, job: Job) -> None:
        """Ask the service to stop the job."""
        self._connect(job.connection).cancel(_name(job))

    def artifacts(self, job: Job) -> Sequence[Artifact]:
        """Return the adapter or model with the trainer's digest, or the registered model of a managed job."""
        if _is_managed(job):
            return [Artifact(kind="model_id", uri=f"azureml:{model_name(_name(job))}:1")]
        remote = self._connect(job.connection)
        try:
            result = _result(remote, job)
        except NotFound:
            return []
        uri, digest = _uri(remote, job, result), result["artifact_digest"]
        return [Artifact.model_validate({"kind": result["artifact_kind"], "uri": uri, "digest": digest})]

    def download(self, job: Job, artifact: Artifact, folder: Path) -> Path:
        """Copy the adapter or model and compare its digest with the one that the trainer wrote."""
        if artifact.kind == "model_id":
            raise self.unsupported("download of a registered model")
        target = folder / artifact.kind
        if target.exists():
            raise StoreError(f"{target} exists already. Choose another folder.")
        self._connect(job.connection).download(_name(job), artifact.kind, target)
        return digests.require(target, artifact.digest)

    def needs_endpoint(self, job: Job) -> bool:
        """No: what a job left is answered with on this machine, unless the user made an endpoint."""
        return False

    def quote(self, job: Job) -> Deployment:
        """Return the endpoint that `deploy` would make for a job of our trainer."""
        if _is_managed(job):
            raise self.unsupported("deploy of a managed job, whose registered model the studio deploys")
        return endpoint.planned(job.id, self._machine(job))

    def deploy(self, job: Job) -> Deployment:
        """Make the endpoint and its deployment, or find them."""
        planned, remote = job.deployment or self.quote(job), self._connect(job.connection)
        if remote.endpoint(planned.name) is None:
            result = _result(remote, job)
            code = endpoint.write_code(job.folder / "endpoint", result["base_model"]["name"])
            remote.deploy(planned.name, code, _uri(remote, job, result), self._machine(job))
        return self.deployment(job.model_copy(update={"deployment": planned})) or planned

    def deployment(self, job: Job) -> Deployment | None:
        """Return the endpoint as it is now."""
        known = job.deployment or Deployment(name=job.id)
        word = self._connect(job.connection).endpoint(known.name)
        update = {"is_ready": word == endpoint.READY, "backend_status": word}
        return known.model_copy(update=update) if word else None

    def undeploy(self, job: Job) -> None:
        """Remove the endpoint with its deployment; what the job left stays."""
        self._connect(job.connection).undeploy(job.deployment.name if job.deployment else job.id)

    def generate(
        self, target: Job | str, prompts: Sequence[Sequence[Message]], parameters: GenerationParameters
    ) -> Iterator[Generation]:
        """Yield answers: of the endpoint where there is one, else made here with the downloaded adapter or model."""
        if isinstance(target, str):
            raise self.unsupported("generate with a base model by name")
        if _is_managed(target):
            raise self.unsupported("generate for a managed job: its model is registered and has no endpoint")
        remote = self._connect(target.connection)
        if target.deployment is not None:
            for start in range(0, len(prompts), endpoint.ROWS_PER_CALL):
                asked = request_body(prompts[start : start + endpoint.ROWS_PER_CALL], parameters)
                yield from read_answers(remote.invoke(target.deployment.name, asked))
            return
        result = _result(remote, target)
        folder = self._downloaded(target, result)
        if result["artifact_kind"] == ADAPTER_FOLDER:
            base = result["base_model"]["name"]
            yield from answer(prompts, parameters, base_model=base, adapter=folder, backend="azureml")
        else:
            yield from answer(prompts, parameters, base_model=str(folder), backend="azureml")

    def list_jobs(self) -> Iterator[RemoteJob]:
        """Yield the jobs of the workspace that Azure ML's environment variables name; ours have our id as name."""
        for name, word in self._connect({}).jobs():
            yield RemoteJob(backend_id=name, backend_status=word, job_id=name if name.startswith(OURS) else None)

    def delete(self, job: Job) -> None:
        """Delete what the job left in the datastore; the service keeps the job's record."""
        if _is_managed(job):
            raise self.unsupported("delete of a registered model")
        self._connect(job.connection).delete(_name(job))

    def check(self) -> Check:
        """Tell whether the workspace of Azure ML's environment variables answers to the credentials at hand."""
        try:
            found = self._connect({}).check()
        except BackendError as error:
            return Check(ok=False, detail=str(error))
        return Check(ok=True, detail=f"The workspace {found} answers.")

    def classify(self, error: Exception, operation: str) -> BackendError:
        """Turn what the SDK raises into a BackendError."""
        return error if isinstance(error, BackendError) else backend_error(error, operation)

    def _connect(self, connection: Mapping[str, Any]) -> client.Remote:
        """Return the workspace of a connection; one is kept, because each sign-in takes seconds."""
        key = json.dumps(dict(connection), sort_keys=True)
        if key not in self._remotes:
            self._remotes[key] = self._open(connection)
        return self._remotes[key]

    def _machine(self, job: Job) -> str:
        named = job.connection.get("endpoint_instance_type")
        return str(named or self._connect(job.connection).machine(_name(job)))

    def _downloaded(self, job: Job, result: Mapping[str, Any]) -> Path:
        """Return the adapter or model in the job's own folder, downloaded when it is first needed."""
        folder = job.folder / "downloaded"
        found = folder / result["artifact_kind"]
        if found.is_dir():
            return digests.require(found, result["artifact_digest"])
        return self.download(job, self.artifacts(job)[0], folder)


def _name(job: Job) -> str:
    return job.backend_id or job.id


def _is_managed(job: Job) -> bool:
    return job.connection.get("mode") == "finetuning"


def _result(remote: client.Remote, job: Job) -> dict[str, Any]:
    text = remote.work_file(_name(job), RESULT_FILE)
    if text is None:
        raise NotFound("the job left no model. Look at its log.", backend="azureml", operation="artifacts")
    result: dict[str, Any] = json.loads(text)
    return result


def _uri(remote: client.Remote, job: Job, result: Mapping[str, Any]) -> str:
    return f"{remote.work_uri(_name(job))}{result['artifact_kind']}"
