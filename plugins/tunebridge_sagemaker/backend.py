"""SageMaker as a backend: uploads, one create call under our own name, state and logs by cursor, results from S3."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunebridge.backend import Backend, Check, Generation, GenerationParameters, RemoteJob
from tunebridge.data.dataset import Dataset
from tunebridge.data.example import Message
from tunebridge.errors import BackendError, NotFound
from tunebridge.job import Artifact, Deployment, Event, Job, JobStatus, Metric, Snapshot, Usage
from tunebridge.plan import Plan
from tunebridge.spec import JobSpec
from tunebridge.training.answer import read_answers, request_body
from tunebridge.training.bundle import archive, write_bundle
from tunebridge.training.config import RunConfig
from tunebridge.training.news import read_news, said_in
from tunebridge_aws.errors import backend_error
from tunebridge_aws.rows import write_rows
from tunebridge_aws.storage import Location
from tunebridge_sagemaker import endpoint, instances, jumpstart, results, serverless, training_job
from tunebridge_sagemaker.client import JOB_TAG, PLAN_TAG, Remote, open_remote
from tunebridge_sagemaker.follow import Cursor, Place, bill_event, line_events, transition_events
from tunebridge_sagemaker.info import INFO
from tunebridge_sagemaker.rows import SHAPES, jumpstart_template
from tunebridge_sagemaker.status import failure, job_status, status_word
from tunebridge_sagemaker.translate import translate

SETTLE_SECONDS = 10.0
"""How late CloudWatch may deliver a line; what is younger is told at the next poll."""
LAST_LINES = 20
CHANNELS = {"train": "training", "validation": "validation"}
"""Split -> the catalogue's name of its channel."""
CONTAINER = Path(__file__).parent / "container"
"""What runs in Amazon's containers, beside the trainer."""


class SageMakerBackend(Backend):
    """Trains on SageMaker; the job's connection says in which region and bucket."""

    info = INFO

    def __init__(
        self,
        connect: Callable[[Mapping[str, Any]], Remote] = open_remote,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        self._connect, self._settle_seconds = connect, settle_seconds

    def plan(self, spec: JobSpec, dataset: Dataset) -> Plan:
        """Translate a job into a CreateTrainingJob request."""
        return translate(spec, dataset, self.info.capabilities)

    def submit(self, plan: Plan, job: Job) -> str:
        """Upload what the job needs, then create it with one call under our own id as its name."""
        remote, home = self._connect(job.connection), _home(job)
        request = REQUESTS[plan.connection["mode"]](remote, plan, job, home)
        request["TrainingJobName"] = job.id
        request["OutputDataConfig"] = {"S3OutputPath": home.below("output").uri, **_key(job, "KmsKeyId")}
        machine = request.get("ResourceConfig")
        if machine and not instances.has_local_disks(machine["InstanceType"]):
            request["ResourceConfig"] = {**machine, **_key(job, "VolumeKmsKeyId")}
        tags = {**plan.payload.get("tags", {}), JOB_TAG: job.id, PLAN_TAG: plan.digest}
        request["Tags"] = [*request.get("Tags", []), *({"Key": key, "Value": value} for key, value in tags.items())]
        return remote.create(request)

    def find(self, job: Job) -> str | None:
        """Look for the job of our name, and at its tag."""
        return self._connect(job.connection).find(job.id, job.id)

    def poll(self, job: Job, cursor: str | None) -> Snapshot:
        """Return the job's state, and what it said since the cursor and long enough ago to be in order."""
        remote, before = self._connect(job.connection), Cursor.parse(cursor)
        until = time.time() - self._settle_seconds
        described = remote.describe(_name(job))
        status = job_status(described)
        ended = described.get("TrainingEndTime") or described.get("LastModifiedTime")
        if status.is_terminal and ended is not None and ended.timestamp() > until:
            status = JobStatus.finalizing  # the last lines may still be on their way
        if status.is_terminal:
            until = float("inf")
        speaks = job.connection.get("mode", "training_job") == "training_job"
        events, metrics, after = _news(remote, described, before, until, speaks=speaks)
        return Snapshot(
            status=status,
            backend_status=status_word(described),
            cursor=str(after),
            events=tuple(events),
            metrics=tuple(metrics),
            usage=Usage(
                trained_tokens=described.get("BillableTokenCount"),
                training_seconds=described.get("BillableTimeInSeconds"),
            ),
            error=_failure(remote, described) if status == JobStatus.failed else None,
        )

    def cancel(self, job: Job) -> None:
        """Ask the service to stop the job; the trainer hears SIGTERM and keeps a checkpoint."""
        self._connect(job.connection).stop(_name(job))

    def artifacts(self, job: Job) -> Sequence[Artifact]:
        """Return the archive with the adapter or model, or the model package of a serverless job."""
        remote = self._connect(job.connection)
        described = remote.describe(_name(job), "artifacts")
        package = described.get("OutputModelPackageArn")
        models = [Artifact(kind="model_id", uri=package)] if package else []
        uri = (described.get("ModelArtifacts") or {}).get("S3ModelArtifacts")
        size = remote.storage.size(Location.parse(uri)) if uri else None
        if size is None:  # the address says where a result would be, not that it is there
            return models
        is_whole = described.get("HyperParameters", {}).get("adapter.type", "full") == "full"  # a recipe's says nothing
        kind = "model" if is_whole else "adapter"
        return [Artifact.model_validate({"kind": kind, "uri": uri, "size_bytes": size}), *models]

    def download(self, job: Job, artifact: Artifact, folder: Path) -> Path:
        """Download the archive, unpack it without trust, and check it against the digest that the trainer wrote."""
        if artifact.kind == "model_id":
            raise self.unsupported("download of a model package")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as name:
            packed = self._connect(job.connection).storage.get(
                Location.parse(artifact.uri), Path(name) / "model.tar.gz"
            )
            if job.connection.get("mode") == "jumpstart":
                return results.take_all(packed, folder)
            return results.take(packed, folder, artifact.digest)

    def quote(self, job: Job) -> Deployment:
        """Return the endpoint that would be made for the job's model, with its hourly price."""
        described = self._connect(job.connection).describe(_name(job), "quote")
        endpoint.check_deployable(described)
        return endpoint.planned(job.id, described, job.connection)

    def deploy(self, job: Job) -> Deployment:
        """Make a model, a configuration and an endpoint under one name, or go on where an earlier call was cut off."""
        wanted = job.deployment or self.quote(job)
        remote = self._connect(job.connection)
        described = remote.describe(_name(job), "deploy")
        tags = [{"Key": JOB_TAG, "Value": job.id}]
        remote.make(endpoint.requests(wanted.name, described, job.connection, tags))
        return self.deployment(job.model_copy(update={"deployment": wanted})) or wanted

    def deployment(self, job: Job) -> Deployment | None:
        """Return the job's endpoint as it is now."""
        known = job.deployment or Deployment(name=job.id)
        found = self._connect(job.connection).endpoint(known.name)
        return endpoint.state(known, found) if found else None

    def undeploy(self, job: Job) -> None:
        """Remove the endpoint, its configuration and its model."""
        self._connect(job.connection).remove(job.deployment.name if job.deployment else job.id)

    def generate(
        self, target: Job | str, prompts: Sequence[Sequence[Message]], parameters: GenerationParameters
    ) -> Iterator[Generation]:
        """Yield one answer per prompt from the job's endpoint, a few prompts per call."""
        if isinstance(target, str):
            raise self.unsupported("generate with a base model by name")
        remote = self._connect(target.connection)
        if target.deployment is None or remote.endpoint(target.deployment.name) is None:
            raise NotFound(
                f"the tuned model has no endpoint. Make one, which bills by the hour: `tunebridge deploy {target.id}`.",
                backend="sagemaker",
                operation="generate",
            )
        for start in range(0, len(prompts), endpoint.ROWS_PER_CALL):
            asked = request_body(prompts[start : start + endpoint.ROWS_PER_CALL], parameters)
            yield from read_answers(remote.invoke(target.deployment.name, asked))

    def list_jobs(self) -> Iterator[RemoteJob]:
        """Yield the training jobs of the region that the environment names; ours have our id as their name."""
        for found in self._connect({}).jobs():
            name = found["TrainingJobName"]
            ours = name if name.startswith("tb-") else None
            yield RemoteJob(backend_id=name, backend_status=found["TrainingJobStatus"], job_id=ours)

    def delete(self, job: Job) -> None:
        """Delete the job's record and everything of it in the bucket; the trainer's source, which jobs share, stays."""
        remote = self._connect(job.connection)
        remote.delete(_name(job))
        remote.storage.delete(_home(job))

    def check(self) -> Check:
        """Tell whether the environment's credentials may look at training jobs."""
        try:
            who = self._connect({}).caller()
        except BackendError as error:
            return Check(ok=False, detail=str(error))
        return Check(ok=True, detail=f"SageMaker answers to {who}.")

    def classify(self, error: Exception, operation: str) -> BackendError:
        """Turn what the SDK raises into a BackendError."""
        return backend_error(error, backend="sagemaker", operation=operation)


def _training_request(remote: Remote, plan: Plan, job: Job, home: Location) -> dict[str, Any]:
    run = RunConfig.model_validate({"job_id": job.id, **plan.payload["run"]})
    bundle = write_bundle(job.folder / "bundle", run, job.folder)
    for file in CONTAINER.iterdir():
        if file.is_file():
            shutil.copyfile(file, bundle.source / file.name)
    source = archive(bundle.source, job.folder / "bundle" / "source.tar.gz")
    packed = archive(bundle.run, job.folder / "bundle" / "run.tar.gz")
    shared = Location(home.bucket, str(job.connection["prefix"]))
    places = {
        "code": remote.storage.put_file(source, shared.below("source")).uri,
        "run": remote.storage.put_file(packed, home.below("input")).uri,
        "checkpoints": home.below("checkpoints").uri,
    }
    if "model_uri" in plan.payload:
        places["model"] = plan.payload["model_uri"]
    return training_job.complete(plan.payload, places)


def _serverless_request(remote: Remote, plan: Plan, job: Job, home: Location) -> dict[str, Any]:
    model = remote.hub_model_arn(plan.payload.get("hub", serverless.PUBLIC_HUB), plan.base_model)
    places = {
        split: remote.storage.put_file(path, home.below("input")).below(path.name).uri
        for split, path in _written_rows(plan, job).items()
    }
    return serverless.complete(plan.payload, model, places)


def _jumpstart_request(remote: Remote, plan: Plan, job: Job, home: Location) -> dict[str, Any]:
    channels = {}
    for split, path in _written_rows(plan, job).items():
        folder = job.folder / "upload" / CHANNELS[split]
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)
        (folder / "template.json").write_text(json.dumps(jumpstart_template()))
        channels[CHANNELS[split]] = remote.storage.put_folder(folder, home.below("input", folder.name)).uri
    place = {
        "bucket": home.bucket,
        "prefix": home.key,
        "output": home.below("output").uri,
        **_key(job, "kms_key_id"),
    }
    return jumpstart.complete(plan.payload, remote.compose(jumpstart.asked_of_sdk(plan.payload, channels, place)))


def _written_rows(plan: Plan, job: Job) -> dict[str, Path]:
    """Write each split in the shape that the plan names and return the files."""
    shape = SHAPES[plan.payload["rows"]["shape"]]
    return {
        split: write_rows(job.folder, split, shape, backend="sagemaker")
        for split in ("train", "validation")
        if (job.folder / f"{split}.jsonl").exists()
    }


REQUESTS: Mapping[str, Callable[[Remote, Plan, Job, Location], dict[str, Any]]] = {
    "training_job": _training_request,
    "serverless": _serverless_request,
    "jumpstart": _jumpstart_request,
}
"""Mode -> what uploads the job's files and returns its request."""


def _news(
    remote: Remote, described: Mapping[str, Any], before: Cursor, until: float, *, speaks: bool
) -> tuple[list[Event], list[Metric], Cursor]:
    """Return what was said before a moment and is not told yet, in order of time, and the cursor behind it.

    `speaks`: whether the lines are our trainer's, which carry the metrics.
    """
    all_of_them = described.get("SecondaryStatusTransitions", [])
    known = [found for found in all_of_them if found["StartTime"].timestamp() <= until]
    events = transition_events(known[before.transitions :], before.transitions)
    metrics: list[Metric] = []
    places = dict(before.streams)
    until_ms = None if until == float("inf") else int(until * 1000)
    for stream, lines, place in remote.lines(described["TrainingJobName"], before.streams, until_ms):
        said, measured = line_events(stream.rpartition("/")[2], places.get(stream, Place()).read, lines)
        events, metrics, places[stream] = [*events, *said], [*metrics, *measured], place
    events.sort(key=lambda event: event.at)
    is_over = until_ms is None
    if is_over and not before.is_over:
        events += bill_event(described)
        metrics += [] if speaks and (metrics or before.streams) else _final_metrics(described)
    return events, metrics, Cursor(max(before.transitions, len(known)), places, is_over)


def _final_metrics(described: Mapping[str, Any]) -> list[Metric]:
    """Return what the service's metric definitions found last, for jobs that have no log lines of ours."""
    return [
        Metric(name=found["MetricName"], value=found["Value"], step=0, at=found["Timestamp"])
        for found in described.get("FinalMetricDataList", [])
    ]


def _failure(remote: Remote, described: Mapping[str, Any]) -> str:
    lines = remote.last_lines(described["TrainingJobName"], LAST_LINES)
    said = read_news(said_in(lines)).failure
    return failure(described, said or "\n".join(line for line in lines if line.strip())[-500:])


def _home(job: Job) -> Location:
    return Location(str(job.connection["bucket"]), str(job.connection["prefix"])).below("jobs", job.id)


def _key(job: Job, name: str) -> dict[str, str]:
    key = job.connection.get("kms_key_id")
    return {name: key} if key else {}


def _name(job: Job) -> str:
    return job.backend_id or job.id
