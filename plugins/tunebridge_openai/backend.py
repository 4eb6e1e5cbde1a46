"""OpenAI's dialect as a backend: uploads, one create call, events by cursor, answers by chat completions."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from tunebridge import digests
from tunebridge.backend import Backend, Check, Generation, GenerationParameters, RemoteJob
from tunebridge.data.dataset import Dataset
from tunebridge.data.example import Message
from tunebridge.errors import BackendError, InvalidRequest, NotFound, TrainingUnavailable
from tunebridge.job import Artifact, Deployment, Event, Job, JobStatus, Metric, Snapshot, Usage
from tunebridge.plan import Plan
from tunebridge.spec import JobSpec
from tunebridge_openai import client
from tunebridge_openai.deployments import READY, Deployments, maker, quoted
from tunebridge_openai.files import write_file
from tunebridge_openai.info import INFO
from tunebridge_openai.status import backend_error, job_status
from tunebridge_openai.translate import JOB_KEY, request, translate

METRICS = {
    "train_loss": "train_loss",
    "valid_loss": "validation_loss",
    "full_valid_loss": "full_validation_loss",
    "train_accuracy": "train_accuracy",
    "train_mean_token_accuracy": "train_accuracy",
    "valid_mean_token_accuracy": "validation_accuracy",
    "validation_mean_token_accuracy": "validation_accuracy",
    "full_valid_mean_token_accuracy": "full_validation_accuracy",
}
"""The service's names -> ours."""
CONCURRENT_ANSWERS = 8
FINISH = {"stop": "stop", "length": "length"}


class OpenAIBackend(Backend):
    """Trains at OpenAI, at Azure OpenAI or at any server of the dialect; the job's connection says where."""

    info = INFO

    def __init__(
        self,
        connect: Callable[[Mapping[str, Any]], client.Remote] = client.connect,
        today: Callable[[], date] = date.today,
        deployments: Callable[[Mapping[str, Any]], Deployments] = client.deployments,
    ) -> None:
        self._connect, self._today, self._deployments = connect, today, deployments

    def plan(self, spec: JobSpec, dataset: Dataset) -> Plan:
        """Translate a job into a request of the dialect; models that have closed are refused."""
        return translate(spec, dataset, self.info.capabilities, self._today())

    def submit(self, plan: Plan, job: Job) -> str:
        """Upload the rows, then create the job with one call that carries our id in its metadata."""
        with self._connect(job.connection) as remote:
            self._refuse_closed(remote, plan)
            files = {}
            for split in ("train", "validation"):
                if (job.folder / f"{split}.jsonl").exists():
                    path = write_file(job.folder, split, plan.payload)
                    files[split] = remote.upload(path, _file_name(path, split))
            return remote.create(request(plan.payload, job.id, files))

    def find(self, job: Job) -> str | None:
        """Look for our id in the metadata of the service's jobs."""
        with self._connect(job.connection) as remote:
            return remote.find(job.id)

    def poll(self, job: Job, cursor: str | None) -> Snapshot:
        """Return the job's state, the events behind the cursor (the id of the last one) and its metrics."""
        with self._connect(job.connection) as remote:
            found = remote.job(_id(job))
            events = remote.events(_id(job), cursor)
            status = job_status(found["status"])
            metrics = [metric for event in events for metric in _event_metrics(event)]
            if status == JobStatus.succeeded:
                metrics += _result_metrics(remote, found)
        return Snapshot(
            status=status,
            backend_status=found["status"],
            cursor=events[-1]["id"] if events else cursor,
            events=tuple(_event(event) for event in events),
            metrics=tuple(metrics),
            usage=Usage(trained_tokens=found.get("trained_tokens")),
            error=_failure(found) if status == JobStatus.failed else None,
        )

    def cancel(self, job: Job) -> None:
        """Ask the service to stop the job."""
        self._act("cancel", job)

    def pause(self, job: Job) -> None:
        """Ask the service to pause the job."""
        self._act("pause", job)

    def resume(self, job: Job) -> None:
        """Go on with a paused job; the service cannot go on with one that has ended."""
        if job.backend_status not in ("paused", "pausing"):
            raise self.unsupported("resume")
        self._act("resume", job)

    def artifacts(self, job: Job) -> Sequence[Artifact]:
        """Return the tuned model's id, and those of the checkpoints that the service keeps."""
        with self._connect(job.connection) as remote:
            tuned = remote.job(_id(job), "artifacts").get("fine_tuned_model")
            kept = [one["fine_tuned_model_checkpoint"] for one in remote.checkpoints(_id(job))]
        models = [Artifact(kind="model_id", uri=tuned)] if tuned else []
        return [*models, *(Artifact(kind="checkpoint", uri=name) for name in kept if name != tuned)]

    def needs_endpoint(self, job: Job) -> bool:
        """Whether the job was trained at Azure, where a tuned model answers only when it is deployed."""
        return job.connection.get("service") == "azure"

    def quote(self, job: Job) -> Deployment:
        """Return the deployment that would be made, with its hourly price from the dated table."""
        self._azure(job)
        return quoted(job)

    def deploy(self, job: Job) -> Deployment:
        """Make the deployment of the tuned model, or find it when it is there."""
        azure, planned = self._azure(job), job.deployment or quoted(job)
        word = azure.state(planned.name)
        if word is None:
            with self._connect(job.connection) as remote:
                tuned = _tuned_model(remote, job)
            word = azure.create(planned.name, tuned, maker(job.base_model))
        return _standing(planned, word)

    def deployment(self, job: Job) -> Deployment | None:
        """Return the deployment as it is now."""
        planned = job.deployment or quoted(job)
        word = self._azure(job).state(planned.name)
        return None if word is None else _standing(planned, word)

    def undeploy(self, job: Job) -> None:
        """Remove the deployment; the tuned model stays."""
        self._azure(job).delete((job.deployment or quoted(job)).name)

    def generate(
        self, target: Job | str, prompts: Sequence[Sequence[Message]], parameters: GenerationParameters
    ) -> Iterator[Generation]:
        """Yield one answer per prompt by chat completions."""
        knobs = {"max_tokens": parameters.max_tokens, "temperature": parameters.temperature, "seed": parameters.seed}
        messages = [[_message(turn) for turn in prompt] for prompt in prompts]
        with self._connect(target.connection if isinstance(target, Job) else {}) as remote:
            model = target if isinstance(target, str) else self._answering(remote, target)
            with ThreadPoolExecutor(CONCURRENT_ANSWERS) as pool:
                yield from pool.map(lambda asked: _generation(remote.answer(model, asked, **knobs)), messages)

    def list_jobs(self) -> Iterator[RemoteJob]:
        """Yield the jobs of the project that the environment's key belongs to."""
        with self._connect({}) as remote:
            for found in remote.jobs():
                ours = (found.get("metadata") or {}).get(JOB_KEY)
                yield RemoteJob(backend_id=found["id"], backend_status=found["status"], job_id=ours)

    def delete(self, job: Job) -> None:
        """Delete the tuned model and the files that were uploaded for the job."""
        with self._connect(job.connection) as remote:
            found = remote.job(_id(job), "delete")
            if found.get("fine_tuned_model"):
                remote.delete_model(found["fine_tuned_model"])
            for file in (found.get("training_file"), found.get("validation_file")):
                if file:
                    remote.delete_file(file)

    def check(self) -> Check:
        """Tell whether the service answers to the key of the environment."""
        try:
            with self._connect({}) as remote:
                models = remote.models()
        except BackendError as error:
            return Check(ok=False, detail=str(error))
        return Check(ok=True, detail=f"The service answers; the key may use {len(models)} models.")

    def classify(self, error: Exception, operation: str) -> BackendError:
        """Turn what the SDK raises into a BackendError."""
        return error if isinstance(error, BackendError) else backend_error(error, operation)

    def _azure(self, job: Job) -> Deployments:
        if not self.needs_endpoint(job):
            raise self.unsupported("deploy: the tuned model answers without an endpoint")
        return self._deployments(job.connection)

    def _answering(self, remote: client.Remote, job: Job) -> str:
        """Return the name under which the job's tuned model answers."""
        if not self.needs_endpoint(job):
            return _tuned_model(remote, job)
        if job.deployment is None:
            raise InvalidRequest(
                "at Azure a tuned model answers only when it is deployed, which bills by the hour. "
                f"See the price and deploy it with `tunebridge deploy {job.id}`.",
                backend="openai",
                operation="generate",
            )
        return job.deployment.name

    def _act(self, verb: str, job: Job) -> None:
        with self._connect(job.connection) as remote:
            remote.act(verb, _id(job))

    def _refuse_closed(self, remote: client.Remote, plan: Plan) -> None:
        """Ask the service itself when the model is shut down; only OpenAI says so."""
        if plan.connection.get("service", "openai") != "openai":
            return
        dates = {model["id"]: model.get("shutdown_date") for model in remote.models()}
        ends = dates.get(plan.base_model)
        if ends and date.fromisoformat(ends) <= self._today():
            since = date.fromisoformat(ends)
            message = f"{plan.base_model} was shut down on {ends}. Choose another model or backend."
            raise TrainingUnavailable(message, since=since, backend="openai", operation="submit")


def _id(job: Job) -> str:
    return job.backend_id or ""


def _tuned_model(remote: client.Remote, job: Job) -> str:
    tuned = remote.job(_id(job), "generate").get("fine_tuned_model")
    if not tuned:
        raise NotFound(
            "the job has no tuned model. Look at it with `tunebridge jobs show`.",
            backend="openai",
            operation="generate",
        )
    return str(tuned)


def _standing(planned: Deployment, word: str) -> Deployment:
    return planned.model_copy(update={"is_ready": word == READY, "backend_status": word})


def _file_name(path: Path, split: str) -> str:
    """Return a name that carries the content's digest, by which an uploaded file is found again."""
    return f"tunebridge-{digests.of_file(path).removeprefix('sha256:')[:32]}-{split}.jsonl"


def _event(event: Mapping[str, Any]) -> Event:
    kind = {"warn": "warning", "error": "error"}.get(event["level"], "log")
    data = event.get("data") or {}
    if event.get("type") == "metrics" and {"step", "total_steps", "train_loss"} <= data.keys():
        kind, data = "progress", {**data, "loss": data.get("train_loss")}
    return Event.model_validate(
        {"id": event["id"], "at": _moment(event["created_at"]), "kind": kind, "message": event["message"], "data": data}
    )


def _event_metrics(event: Mapping[str, Any]) -> list[Metric]:
    data = event.get("data") or {}
    if event.get("type") != "metrics" or "step" not in data:
        return []
    return _metrics(data, _moment(event["created_at"]))


def _result_metrics(remote: client.Remote, found: Mapping[str, Any]) -> list[Metric]:
    """Return what the job's result file measured."""
    at = _moment(found.get("finished_at") or found["created_at"])
    files = found.get("result_files") or []
    rows = [row for file in files for row in csv.DictReader(io.StringIO(remote.content(file).decode()))]
    return [metric for row in rows if row.get("step") for metric in _metrics(row, at)]


def _metrics(row: Mapping[str, Any], at: datetime) -> list[Metric]:
    values = [(ours, row[theirs]) for theirs, ours in METRICS.items() if row.get(theirs) not in (None, "")]
    return [Metric(name=name, value=float(value), step=int(float(row["step"])), at=at) for name, value in values]


def _failure(found: Mapping[str, Any]) -> str:
    error = found.get("error") or {}
    return error.get("message") or json.dumps(error) or "the service gave no reason"


def _message(message: Message) -> dict[str, Any]:
    return message.model_dump(mode="json", exclude_none=True, exclude={"weight", "reasoning"})


def _generation(answer: Mapping[str, Any]) -> Generation:
    choice = answer["choices"][0]
    return Generation.model_validate(
        {
            "output": choice["message"].get("content") or "",
            "finish_reason": FINISH.get(choice.get("finish_reason"), "error"),
            "tokens": (answer.get("usage") or {}).get("completion_tokens"),
        }
    )


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
