"""The ray backend: a job of Ray Jobs that gives our trainer to the workers of Ray Train."""

import json
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunebridge import digests
from tunebridge.backend import Backend, Check, Generation, GenerationParameters, RemoteJob
from tunebridge.data.dataset import Dataset
from tunebridge.data.example import Message
from tunebridge.errors import BackendError, InvalidRequest, NotFound, StoreError
from tunebridge.job import Artifact, Job, JobStatus, Snapshot
from tunebridge.plan import Plan
from tunebridge.spec import JobSpec
from tunebridge.training.answer import answer_from_result
from tunebridge.training.bundle import requirements, write_bundle
from tunebridge.training.config import CANCEL_FILE, RESULT_FILE, RunConfig
from tunebridge_ray import client, cluster
from tunebridge_ray.cluster.place import Place
from tunebridge_ray.follow import GONE, follow
from tunebridge_ray.info import INFO
from tunebridge_ray.status import STATUS, backend_error
from tunebridge_ray.translate import translate

REQUEST_FILE = "request.json"
"""What a job was created with and where, kept in its folder: for a resume, and because Ray's variables may change."""
CANCEL_PATIENCE_SECONDS = 60.0
"""How long the trainer may take to write its checkpoint before Ray ends the job."""
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "false",
}


class RayBackend(Backend):
    """Trains on a Ray cluster; the job's id there, its submission id, is ours."""

    info = INFO

    def __init__(
        self, connect: Callable[[Mapping[str, Any]], client.Remote] = client.connect, *, storage: str | None = None
    ) -> None:
        """`storage` stands in for the one that jobs name: a rehearsal leaves that alone."""
        self._connect, self._storage = connect, storage

    def plan(self, spec: JobSpec, dataset: Dataset) -> Plan:
        """Translate a job into a run of the trainer and the workers that it runs on."""
        return translate(spec, dataset, self.info.capabilities)

    def submit(self, plan: Plan, job: Job) -> str:
        """Put the run folder where the workers reach it, then create the job under our id with one call."""
        remote = self._connect(job.connection)
        run = RunConfig.model_validate({"job_id": job.id, **plan.payload["run"]})
        bundle = write_bundle(job.folder / "bundle", run, job.folder)
        _add_cluster_side(bundle.source)
        place = self._place(job)
        with _stored(place, "submit"):
            for path in sorted(bundle.run.iterdir()):
                place.put(path, path.name)
        shutil.rmtree(bundle.run)
        request = {"address": remote.address, **_request(plan.payload["request"], place, job)}
        (job.folder / REQUEST_FILE).write_text(json.dumps(request))
        return _create(remote, job)

    def find(self, job: Job) -> str | None:
        """Ask for the job of our id."""
        return job.id if self._reach(job).job(job.id, "find") else None

    def poll(self, job: Job, cursor: str | None) -> Snapshot:
        """Return Ray's word for the job, and what the trainer wrote behind the cursor, a byte of its events."""
        remote, place = self._reach(job), self._place(job)
        found = remote.job(job.id)  # before the events: what the trainer wrote last is then surely read
        word = str(found["status"]) if found else GONE
        with _stored(place, "poll"):
            if job.status == JobStatus.cancelling and word == "RUNNING" and _is_overdue(place):
                remote.stop(job.id)
            return follow(place, cursor, word, lambda: remote.log(job.id) if found else [])

    def cancel(self, job: Job) -> None:
        """Ask the trainer to stop, which ends the step and writes a checkpoint; a job that waits is ended at once."""
        remote, place = self._reach(job), self._place(job)
        found = remote.job(job.id, "cancel")
        with _stored(place, "cancel"):
            place.write(CANCEL_FILE, str(time.time()).encode())
        if found and found["status"] == "PENDING":
            remote.stop(job.id)

    def resume(self, job: Job) -> None:
        """Create the job again under its id; the workers go on from the last checkpoint."""
        remote, place = self._reach(job), self._place(job)
        if not (job.folder / REQUEST_FILE).exists():
            raise NotFound("the job's own folder is gone. Submit the job again.", backend="ray", operation="resume")
        found = remote.job(job.id, "resume")
        if found and not STATUS.get(found["status"], JobStatus.unknown).is_terminal:
            return
        with _stored(place, "resume"):
            place.remove(CANCEL_FILE)
        if found:
            remote.forget(job.id, "resume")
        _create(remote, job)

    def artifacts(self, job: Job) -> Sequence[Artifact]:
        """Return the adapter or model with the digest that the trainer wrote down."""
        place = self._place(job)
        with _stored(place, "artifacts"):
            written = place.read(RESULT_FILE)
            if written is None:
                return []
            result = json.loads(written)
            kind = result["artifact_kind"]
            sizes = place.sizes(kind)
        uri = f"{place.url}/{kind}"
        known = {"kind": kind, "uri": uri, "digest": result["artifact_digest"], "size_bytes": sum(sizes.values())}
        return [Artifact.model_validate(known)] if sizes else []

    def download(self, job: Job, artifact: Artifact, folder: Path) -> Path:
        """Copy the adapter or model and compare its digest with the one that the trainer wrote."""
        place, target = self._place(job), folder / artifact.kind
        if target.exists():
            raise StoreError(f"{target} exists already. Choose another folder.")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tunebridge-", dir=folder) as partial, _stored(place, "download"):
            for name in place.sizes(artifact.kind):
                place.get(name, Path(partial) / name)
            shutil.move(digests.require(Path(partial) / artifact.kind, artifact.digest), target)
        return target

    def generate(
        self, target: Job | str, prompts: Sequence[Sequence[Message]], parameters: GenerationParameters
    ) -> Iterator[Generation]:
        """Yield answers, made on this machine with the downloaded adapter or model."""
        yield from answer_from_result(self, target, prompts, parameters)

    def list_jobs(self) -> Iterator[RemoteJob]:
        """Yield the jobs of the cluster that Ray's environment variables name."""
        for found in self._connect({}).jobs():
            ours = found["metadata"].get(client.JOB_KEY)
            yield RemoteJob(backend_id=found["id"], backend_status=found["status"], job_id=ours)

    def delete(self, job: Job) -> None:
        """Remove the run folder, and the job from the cluster's list."""
        remote, place = self._reach(job), self._place(job)
        if remote.job(job.id, "delete"):
            remote.forget(job.id, "delete")
        with _stored(place, "delete"):
            place.remove()

    def check(self) -> Check:
        """Tell whether the cluster that Ray's environment variables name answers."""
        try:
            version = self._connect({}).version()
        except BackendError as error:
            return Check(ok=False, detail=str(error))
        return Check(ok=True, detail=f"The cluster answers; it runs Ray {version}.")

    def classify(self, error: Exception, operation: str) -> BackendError:
        """Turn what the SDK raises into a BackendError."""
        return error if isinstance(error, BackendError) else backend_error(error, operation)

    def _reach(self, job: Job) -> client.Remote:
        """Return the cluster that the job was sent to."""
        kept = job.folder / REQUEST_FILE
        known = {"address": json.loads(kept.read_text())["address"]} if kept.exists() else {}
        return self._connect({**known, **job.connection})

    def _place(self, job: Job) -> Place:
        """Return where the job's run folder lies; InvalidRequest when fsspec has no such file system here."""
        url = f"{self._storage or job.connection['storage']}/{job.id}"
        try:
            return Place(url)
        except (ImportError, ValueError) as error:
            raise InvalidRequest(
                f"{url} cannot be reached from here: {error}. Install what fsspec asks for, here and on the cluster.",
                backend="ray",
                operation="storage",
            ) from error


def _request(asked: Mapping[str, Any], place: Place, job: Job) -> dict[str, Any]:
    """Return the command of the driver, which hands the run to the workers, and the environment of both."""
    resources = {"CPU": asked["cpus_per_worker"], **asked.get("resources_per_worker", {})}
    if asked["gpus_per_worker"]:
        resources["GPU"] = asked["gpus_per_worker"]
    driven = {
        "name": job.id,
        "run": place.url,
        "num_workers": asked["num_workers"],
        "max_failures": asked["max_failures"],
        "resources_per_worker": resources,
    }
    environment: dict[str, Any] = {"env_vars": ENVIRONMENT}
    if asked["requirements"] == "install":
        environment["pip"] = requirements()
    command = ["python", "-m", "tunebridge_ray.cluster.driver", json.dumps(driven)]
    return {"entrypoint": shlex.join(command), "environment": environment}


def _create(remote: client.Remote, job: Job) -> str:
    request = json.loads((job.folder / REQUEST_FILE).read_text())
    source = str(job.folder / "bundle" / "source")
    return remote.create(job.id, request["entrypoint"], {**request["environment"], "working_dir": source})


def _add_cluster_side(source: Path) -> None:
    """Put what runs on the cluster beside the trainer, under the names that it has here."""
    target = source / "tunebridge_ray"
    shutil.copytree(Path(cluster.__file__).parent, target / "cluster", ignore=shutil.ignore_patterns("__pycache__"))
    (target / "__init__.py").write_text("")


def _is_overdue(place: Place) -> bool:
    asked = place.read(CANCEL_FILE)
    return asked is not None and time.time() - float(asked or 0) > CANCEL_PATIENCE_SECONDS


@contextmanager
def _stored(place: Place, operation: str) -> Iterator[None]:
    """Turn what the storage raises inside the block into a BackendError."""
    try:
        yield
    except OSError as error:
        raise InvalidRequest(
            f"the storage {place.url} could not be used: {type(error).__name__}: {error}. Look at options.ray.storage.",
            backend="ray",
            operation=operation,
        ) from error
