"""Bedrock as a backend: rows in S3, one create call with our token, phases as events, answers by Converse."""

import csv
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from tunebridge.backend import Backend, Check, Generation, GenerationParameters, RemoteJob
from tunebridge.data.dataset import Dataset
from tunebridge.data.example import Message
from tunebridge.errors import BackendError, InvalidRequest, NotFound
from tunebridge.job import Artifact, Deployment, Job, JobStatus, Metric, Snapshot
from tunebridge.plan import Plan
from tunebridge.spec import JobSpec
from tunebridge_aws.errors import backend_error
from tunebridge_aws.rows import write_rows
from tunebridge_aws.storage import Location
from tunebridge_bedrock import imports
from tunebridge_bedrock.client import Remote, open_remote
from tunebridge_bedrock.info import INFO
from tunebridge_bedrock.models import model_for
from tunebridge_bedrock.rows import SHAPES
from tunebridge_bedrock.status import events, job_status, status_word
from tunebridge_bedrock.translate import JOB_TAG, request, translate

CONCURRENT_ANSWERS = 4
FINISH = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length"}
METRIC_FILES = {
    "step_wise_training_metrics.csv": ("training_loss", "train_loss"),
    "validation_metrics.csv": ("validation_loss", "validation_loss"),
}
"""File below the job's output -> its column and our name for it."""
DEPLOY_SOURCE = "https://docs.aws.amazon.com/bedrock/latest/userguide/deploy-custom-model-on-demand.html"


class BedrockBackend(Backend):
    """Customizes models on Bedrock; the job's connection says in which region and bucket."""

    info = INFO

    def __init__(self, connect: Callable[[Mapping[str, Any]], Remote] = open_remote) -> None:
        self._connect = connect

    def plan(self, spec: JobSpec, dataset: Dataset) -> Plan:
        """Translate a job into a CreateModelCustomizationJob request."""
        return translate(spec, dataset, self.info.capabilities)

    def submit(self, plan: Plan, job: Job) -> str:
        """Upload the rows, then create the job with one call whose token is our id."""
        remote, home = self._connect(job.connection), _home(job)
        shape, places = SHAPES[plan.payload["rows"]["shape"]], {"output": home.below("output").uri}
        for split in ("train", "validation"):
            if (job.folder / f"{split}.jsonl").exists():
                path = write_rows(job.folder, split, shape, backend="bedrock")
                places[split] = remote.storage.put_file(path, home.below("input")).below(path.name).uri
        return remote.create(request(plan.payload, job.id, places))

    def find(self, job: Job) -> str | None:
        """Look for the job of our name that was created with our token."""
        return self._connect(job.connection).find(job.id)

    def poll(self, job: Job, cursor: str | None) -> Snapshot:
        """Return the job's state and the events that are not told yet; the cursor is the list of those that are."""
        remote = self._connect(job.connection)
        described = remote.job(_id(job))
        status, told = job_status(described), (cursor or "").split()
        fresh = [event for event in events(described) if event.id not in told]
        return Snapshot(
            status=status,
            backend_status=status_word(described),
            cursor=" ".join([*told, *(event.id for event in fresh)]),
            events=tuple(fresh),
            metrics=tuple(_metrics(remote, job, described)) if status == JobStatus.succeeded else (),
            error=described.get("failureMessage", "the service gave no reason") if status == JobStatus.failed else None,
        )

    def cancel(self, job: Job) -> None:
        """Ask the service to stop the job."""
        self._connect(job.connection).stop(_id(job))

    def artifacts(self, job: Job) -> Sequence[Artifact]:
        """Return the tuned model's ARN, when the model is there."""
        remote = self._connect(job.connection)
        arn = remote.job(_id(job), "artifacts").get("outputModelArn")
        return [Artifact(kind="model_id", uri=arn)] if arn and remote.has_model(arn) else []

    def quote(self, job: Job) -> Deployment:
        """Return the deployment that would be made: it bills by token, and nothing by the hour."""
        base = self._connect(job.connection).job(_id(job), "quote")["baseModelArn"]
        if not model_for(base).deployable:
            raise InvalidRequest(
                f"tuned models of {base} cannot be deployed on demand ({DEPLOY_SOURCE}). Buy provisioned throughput "
                f"for it in the console.",
                backend="bedrock",
                operation="quote",
            )
        note = (
            f"answers are billed by token, the stored model by month; no hourly price: {DEPLOY_SOURCE}, seen 2026-11-25"
        )
        return Deployment(name=job.id, usd_per_hour=Decimal(0), price_note=note)

    def host(self, job: Job, options: Mapping[str, Any]) -> Deployment:
        """Return the import of another backend's merged weights that would be made."""
        return imports.planned(job, options)

    def deploy(self, job: Job) -> Deployment:
        """Deploy the tuned model on demand or import another backend's, or find what is there."""
        if imports.is_import(job):
            return imports.deploy(self._connect(job.connection), job)
        remote, wanted = self._connect(job.connection), job.deployment or self.quote(job)
        if remote.deployment(wanted.name) is None:
            arn = remote.job(_id(job), "deploy")["outputModelArn"]
            remote.deploy(wanted.name, arn, [{"key": JOB_TAG, "value": job.id}])
        return self.deployment(job) or wanted

    def deployment(self, job: Job) -> Deployment | None:
        """Return the job's deployment or imported model as it is now."""
        if imports.is_import(job):
            return imports.state(self._connect(job.connection), job)
        known = job.deployment or Deployment(name=job.id)
        found = self._connect(job.connection).deployment(known.name)
        if found is None:
            return None
        state = {
            "is_ready": found["status"] == "Active",
            "backend_status": found["status"],
            "since": found["createdAt"],
        }
        return known.model_copy(update=state)

    def undeploy(self, job: Job) -> None:
        """Remove the job's deployment, or its imported model."""
        if imports.is_import(job):
            imports.undeploy(self._connect(job.connection), job)
            return
        self._connect(job.connection).undeploy(job.deployment.name if job.deployment else job.id)

    def generate(
        self, target: Job | str, prompts: Sequence[Sequence[Message]], parameters: GenerationParameters
    ) -> Iterator[Generation]:
        """Yield one answer per prompt by Converse, from a job's deployment or a base model."""
        remote = self._connect(target.connection if isinstance(target, Job) else {})
        model = target if isinstance(target, str) else _deployed(remote, target)
        asked = [conversation(prompt, parameters) for prompt in prompts]
        with ThreadPoolExecutor(CONCURRENT_ANSWERS) as pool:
            yield from pool.map(lambda one: _generation(remote.answer(model, one)), asked)

    def list_jobs(self) -> Iterator[RemoteJob]:
        """Yield the customization jobs of the region that the environment names; ours have our id as their name."""
        for found in self._connect({}).jobs():
            ours = found["jobName"] if found["jobName"].startswith("tb-") else None
            yield RemoteJob(backend_id=found["jobArn"], backend_status=found["status"], job_id=ours)

    def delete(self, job: Job) -> None:
        """Delete the tuned model and everything of the job in the bucket; the service keeps its record of the job."""
        remote = self._connect(job.connection)
        arn = remote.job(_id(job), "delete").get("outputModelArn")
        if arn:
            remote.delete_model(arn)
        remote.storage.delete(_home(job))

    def check(self) -> Check:
        """Tell whether the environment's credentials may look at customization jobs."""
        try:
            who = self._connect({}).caller()
        except BackendError as error:
            return Check(ok=False, detail=str(error))
        return Check(ok=True, detail=f"Bedrock answers to {who}.")

    def classify(self, error: Exception, operation: str) -> BackendError:
        """Turn what the SDK raises into a BackendError."""
        return backend_error(error, backend="bedrock", operation=operation)


def conversation(prompt: Sequence[Message], parameters: GenerationParameters) -> dict[str, Any]:
    """Return a prompt as a Converse request; turns with tools or images are refused, and so is a seed of no effect."""
    for message in prompt:
        if not isinstance(message.content, str) or message.tool_calls or message.role == "tool":
            raise InvalidRequest(
                "a prompt with tools or images is not sent to Bedrock. Ask with text only.",
                backend="bedrock",
                operation="generate",
            )
    turns = [
        {"role": message.role, "content": [{"text": message.content}]}
        for message in prompt
        if message.role not in ("system", "developer")
    ]
    system = [{"text": message.content} for message in prompt if message.role in ("system", "developer")]
    limits = {"maxTokens": parameters.max_tokens, "temperature": min(parameters.temperature, 1.0)}
    return {"messages": turns, "inferenceConfig": limits, **({"system": system} if system else {})}


def _generation(answer: Mapping[str, Any]) -> Generation:
    parts = answer["output"]["message"]["content"]
    return Generation.model_validate(
        {
            "output": "".join(part.get("text", "") for part in parts),
            "finish_reason": FINISH.get(answer["stopReason"], "error"),
            "tokens": answer["usage"]["outputTokens"],
        }
    )


def _deployed(remote: Remote, job: Job) -> str:
    if imports.is_import(job) and (arn := imports.model_arn(remote, job)):
        return arn
    found = remote.deployment(job.deployment.name) if job.deployment else None
    if found is None or found["status"] != "Active":
        raise NotFound(
            f"the tuned model has no deployment that answers. Make one with `tunebridge deploy {job.id}`.",
            backend="bedrock",
            operation="generate",
        )
    return str(found["customModelDeploymentArn"])


def _metrics(remote: Remote, job: Job, described: Mapping[str, Any]) -> Iterator[Metric]:
    """Yield what the files that the service leaves measured, step by step."""
    at = described.get("endTime", datetime.now(UTC)).astimezone(UTC)
    with tempfile.TemporaryDirectory() as name:
        for place in remote.storage.list(_home(job).below("output")):
            file = place.key.rpartition("/")[2]
            if file not in METRIC_FILES:
                continue
            column, metric = METRIC_FILES[file]
            with remote.storage.get(place, Path(name) / file).open(newline="") as text:
                for row in csv.DictReader(text):
                    yield Metric(name=metric, value=float(row[column]), step=int(row["step_number"]), at=at)


def _home(job: Job) -> Location:
    return Location(str(job.connection["bucket"]), str(job.connection["prefix"])).below("jobs", job.id)


def _id(job: Job) -> str:
    return job.backend_id or job.id
