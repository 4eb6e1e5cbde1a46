"""The vertexai backend: which mode does what of a job."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunebridge.backend import Backend, Check, Generation, GenerationParameters, RemoteJob
from tunebridge.data.dataset import Dataset
from tunebridge.data.example import Message
from tunebridge.errors import BackendError, NotFound
from tunebridge.job import Artifact, Job, Snapshot
from tunebridge.plan import Plan
from tunebridge.spec import JobSpec
from tunebridge.training.answer import answer
from tunebridge_vertexai import client, custom_job, tuning
from tunebridge_vertexai.info import INFO, PROFILES
from tunebridge_vertexai.status import backend_error
from tunebridge_vertexai.translate import JOB_LABEL, translate
from tunebridge_vertexai.tuning import folder_of
from tunebridge_vertexai.weights import download


class VertexAIBackend(Backend):
    """Tunes at Vertex AI; the job's connection says in which project and region."""

    info = INFO

    def __init__(self, connect: Callable[[Mapping[str, Any]], client.Remote] = client.connect) -> None:
        self._connect = connect

    def plan(self, spec: JobSpec, dataset: Dataset) -> Plan:
        """Translate a job by the rules of its model's family."""
        return translate(spec, dataset, PROFILES)

    def submit(self, plan: Plan, job: Job) -> str:
        """Upload what the job needs to its folder in Cloud Storage, then create it with one call."""
        with self._connect(job.connection) as remote:
            if _is_custom(job):
                return custom_job.submit(remote, plan, job, folder_of(job))
            return tuning.submit(remote, plan, job)

    def find(self, job: Job) -> str | None:
        """Look for our id among the labels of the region's jobs."""
        with self._connect(job.connection) as remote:
            return custom_job.find(remote, job, JOB_LABEL) if _is_custom(job) else tuning.find(remote, job)

    def poll(self, job: Job, cursor: str | None) -> Snapshot:
        """Return the job's state and what is new since the cursor."""
        with self._connect(job.connection) as remote:
            if _is_custom(job):
                return custom_job.poll(remote, job, cursor, folder_of(job))
            return tuning.poll(remote, job, cursor)

    def cancel(self, job: Job) -> None:
        """Ask the service to stop the job."""
        with self._connect(job.connection) as remote:
            (remote.cancel_custom_job if _is_custom(job) else remote.cancel)(job.backend_id or "")

    def artifacts(self, job: Job) -> Sequence[Artifact]:
        """Return the tuned model's endpoint, or the weights in Cloud Storage."""
        with self._connect(job.connection) as remote:
            if _is_custom(job):
                return custom_job.artifacts(remote, folder_of(job))
            return tuning.artifacts(remote, job)

    def download(self, job: Job, artifact: Artifact, folder: Path) -> Path:
        """Copy weights out of Cloud Storage, with the SDK's checksums; Gemini's weights stay at Google."""
        if not artifact.uri.startswith("gs://"):
            raise self.unsupported("download")
        with self._connect(job.connection) as remote:
            return download(remote, artifact, folder)

    def answers_here(self, target: Job | str) -> bool:
        """A custom job's result is downloaded and answers on this machine."""
        return isinstance(target, Job) and _is_custom(target)

    def generate(
        self, target: Job | str, prompts: Sequence[Sequence[Message]], parameters: GenerationParameters
    ) -> Iterator[Generation]:
        """Yield answers of the tuned model's endpoint, or of a model by its name.

        A custom job's result is downloaded, and answers on this machine.
        """
        if isinstance(target, Job) and _is_custom(target):
            yield from self._answered_here(target, prompts, parameters)
            return
        with self._connect(target.connection if isinstance(target, Job) else {}) as remote:
            model = target if isinstance(target, str) else tuning.endpoint_of(remote, target)
            yield from tuning.generate(remote, model, prompts, parameters)

    def list_jobs(self) -> Iterator[RemoteJob]:
        """Yield the tuning jobs of the environment's project and region."""
        with self._connect({}) as remote:
            for found in (*remote.jobs(), *remote.custom_jobs()):
                ours = (found.get("labels") or {}).get(JOB_LABEL)
                yield RemoteJob(backend_id=found["name"], backend_status=found["state"], job_id=ours)

    def delete(self, job: Job) -> None:
        """Delete a custom job's folder in Cloud Storage; a tuned model stays, since its endpoint may be in use."""
        if not _is_custom(job):
            raise self.unsupported("delete of a tuned model; the console does")
        with self._connect(job.connection) as remote:
            remote.remove(folder_of(job))

    def check(self) -> Check:
        """Tell whether the environment's credentials reach a project's tuning jobs."""
        try:
            with self._connect({}) as remote:
                remote.reach()
                where = f"project {remote.access.project}, region {remote.access.location}"
        except BackendError as error:
            return Check(ok=False, detail=str(error))
        return Check(ok=True, detail=f"Vertex AI answers for {where}.")

    def classify(self, error: Exception, operation: str) -> BackendError:
        """Turn what the SDKs raise into a BackendError."""
        return error if isinstance(error, BackendError) else backend_error(error, operation)

    def _answered_here(
        self, job: Job, prompts: Sequence[Sequence[Message]], parameters: GenerationParameters
    ) -> Iterator[Generation]:
        found = self.artifacts(job)
        if not found:
            raise NotFound("the job left no result. Look at its events.", backend="vertexai", operation="generate")
        with tempfile.TemporaryDirectory(prefix="tunebridge-") as folder:
            path = self.download(job, found[0], Path(folder) / "result")
            whole = found[0].kind == "model"
            base, adapter = (str(path), None) if whole else (job.base_model, path)
            yield from answer(prompts, parameters, base_model=base, adapter=adapter, backend="vertexai")


def _is_custom(job: Job) -> bool:
    return job.connection.get("mode") == "custom_job"
