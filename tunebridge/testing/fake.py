"""A backend without dependencies that does everything, and fails on request."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from tunebridge import digests
from tunebridge.backend import Backend, BackendInfo, Check, Generation, GenerationParameters, Rehearsal, RemoteJob
from tunebridge.capabilities import Capabilities
from tunebridge.cost.bill import Bill, Billing, Workload, hour_line
from tunebridge.cost.interval import Interval
from tunebridge.cost.price import Price
from tunebridge.data.dataset import Dataset
from tunebridge.data.example import Message
from tunebridge.errors import (
    AuthenticationError,
    BackendError,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    RateLimited,
    ServiceUnavailable,
    StoreError,
)
from tunebridge.job import Artifact, Deployment, Event, Job, JobStatus, Metric, Snapshot, Usage
from tunebridge.plan import Plan, Translation
from tunebridge.spec import JobSpec, SpecModel
from tunebridge.testing.service import FakeService, ServiceError

ERRORS: dict[int, type[BackendError]] = {
    0: ServiceUnavailable,
    401: AuthenticationError,
    402: QuotaExceeded,
    404: NotFound,
    429: RateLimited,
    503: ServiceUnavailable,
}
STATUS = {status.value: status for status in JobStatus if status is not JobStatus.unknown}
FIELDS = {
    "hyperparameters.epochs": "n_epochs",
    "hyperparameters.batch_size": "batch_size",
    "hyperparameters.learning_rate": "learning_rate",
    "hyperparameters.seed": "seed",
    "method.adapter.rank": "adapter.rank",
}
START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR_SECONDS = 3600.0
"""Each look at a running job finds it an hour older."""
PRICE = Price.model_validate(
    {
        "backend": "fake",
        "meter": "training",
        "sku": "fake machine",
        "unit": "hour",
        "usd": "2",
        "source_url": "made up",
        "as_of": date.today(),
        "confidence": "high",
    }
)


class FakeOptions(SpecModel):
    """`options.fake` in a job file."""

    priority: Annotated[int, Field(ge=0, le=9)] = 5
    """Place in a queue that does not exist."""


CAPABILITIES = Capabilities(
    methods=frozenset({"sft", "dpo"}),
    adapters=frozenset({"lora", "full"}),
    dataset_kinds=frozenset({"sft", "preference"}),
    fields=frozenset({*FIELDS, "base_model", "method.type", "method.adapter.type", "options.fake.priority"}),
    validation_data=True,
    cancel=True,
    pause=True,
    events=True,
    metrics=True,
    resume=True,
    inference=True,
    deploy=True,
    download=True,
    list_jobs=True,
    delete=True,
    poll_seconds=0.01,
)


class FakeBackend(Backend):
    """A backend over a FakeService."""

    def __init__(self, service: FakeService, info: BackendInfo) -> None:
        self.service, self.info = service, info

    def plan(self, spec: JobSpec, dataset: Dataset) -> Plan:
        """Translate a job for the fake service."""
        job = Translation(spec, dataset, backend=self.info.name, capabilities=self.info.capabilities)
        job.base_model("model")
        job.choose("method.type", "method", {name: name for name in self.info.capabilities.methods}, default="sft")
        adapters = {str(name): name for name in self.info.capabilities.adapters}
        job.choose("method.adapter.type", "adapter.type", adapters, default="lora")
        for field, sent_as in FIELDS.items():
            job.take(field, sent_as)
        job.options(FakeOptions)
        return job.plan()

    def submit(self, plan: Plan, job: Job) -> str:
        """Create the job under our id."""
        return str(self._call("submit", self.service.create, job.id, plan.payload))

    def find(self, job: Job) -> str | None:
        """Look for our id among the names."""
        return self.service.find(job.id)

    def poll(self, job: Job, cursor: str | None) -> Snapshot:
        """Look at the job and return what is new in its log."""
        found = self._call("poll", self.service.look, job.backend_id or "")
        seen = int(cursor or 0)
        new = found["log"][seen:]
        word = found["word"]
        return Snapshot(
            status=STATUS.get(word, JobStatus.unknown),
            backend_status=word,
            cursor=str(len(found["log"])),
            events=tuple(_event(line) for line in new),
            metrics=tuple(_metric(line) for line in new if line["word"] == "running"),
            usage=Usage(training_seconds=HOUR_SECONDS * sum(line["word"] == "running" for line in found["log"])),
            error="the fake service was told to fail it" if word == "failed" else None,
        )

    def cancel(self, job: Job) -> None:
        """Ask for the job's end."""
        self._call("cancel", self.service.cancel, job.backend_id or "")

    def artifacts(self, job: Job) -> Sequence[Artifact]:
        """Return the one file that the fake service makes, in the job's folder."""
        path = job.folder / "tuned.txt"
        path.write_text(f"tuned from {job.base_model}\n")
        size = path.stat().st_size
        return [Artifact(kind="file", uri=path.as_uri(), digest=digests.of_file(path), size_bytes=size)]

    def pause(self, job: Job) -> None:
        """Ask for the job to be paused."""
        self._call("pause", self.service.hold, job.backend_id or "")

    def resume(self, job: Job) -> None:
        """Go on with the job."""
        self._call("resume", self.service.restart, job.backend_id or "")

    def quote(self, job: Job) -> Deployment:
        """Return an endpoint of 1.50 USD an hour."""
        return Deployment(name=f"endpoint-{job.id}", usd_per_hour=Decimal("1.50"), price_note="made up")

    def deploy(self, job: Job) -> Deployment:
        """Make the endpoint, once."""
        quoted = job.deployment or self.quote(job)
        self._call("deploy", self.service.open_endpoint, quoted.name)
        return quoted.model_copy(update={"is_ready": True, "backend_status": "ready", "since": START})

    def deployment(self, job: Job) -> Deployment | None:
        """Return the endpoint where it stands."""
        quoted = job.deployment or self.quote(job)
        stands = quoted.name in self.service.endpoints()
        return quoted.model_copy(update={"is_ready": True, "backend_status": "ready"}) if stands else None

    def undeploy(self, job: Job) -> None:
        """Remove the endpoint."""
        self.service.close_endpoint((job.deployment or self.quote(job)).name)

    def generate(
        self, target: Job | str, prompts: Sequence[Sequence[Message]], parameters: GenerationParameters
    ) -> Iterator[Generation]:
        """Answer with the last message, turned round; a job's model only where its endpoint stands."""
        if isinstance(target, Job) and self.deployment(target) is None:
            reason = f"the model has no endpoint. Make one with `tunebridge deploy {target.id}`."
            raise NotFound(reason, backend="fake", operation="generate")
        for prompt in prompts:
            yield Generation(output=str(prompt[-1].content)[::-1][: parameters.max_tokens], tokens=1)

    def download(self, job: Job, artifact: Artifact, folder: Path) -> Path:
        """Copy the file when it is what was trained."""
        if digests.of_file(Path(artifact.uri.removeprefix("file://"))) != artifact.digest:
            raise StoreError(
                f"{artifact.uri} differs from what was trained (digest). Resume the job, or look at the disk."
            )
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / "tuned.txt"
        target.write_bytes(Path(artifact.uri.removeprefix("file://")).read_bytes())
        return target

    def list_jobs(self) -> Iterator[RemoteJob]:
        """List the fake service's jobs."""
        for key, found in self.service.jobs().items():
            yield RemoteJob(backend_id=key, backend_status=found["word"], job_id=found["name"])

    def delete(self, job: Job) -> None:
        """Delete the job."""
        self._call("delete", self.service.delete, job.backend_id or "")

    def check(self) -> Check:
        """Say that all is well."""
        return Check(ok=True, detail="The fake service lies on this disk.")

    def classify(self, error: Exception, operation: str) -> BackendError:
        """Turn the fake SDK's error into ours."""
        if not isinstance(error, ServiceError):
            return super().classify(error, operation)
        kind = ERRORS.get(error.status, InvalidRequest)
        return kind(f"{error}. Try again or look at the service.", backend=self.info.name, operation=operation)

    def _call(self, operation: str, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except ServiceError as error:
            raise self.classify(error, operation) from None


def fake_info(folder: Path, *, name: str = "fake", capabilities: Capabilities = CAPABILITIES) -> BackendInfo:
    """Return a fake backend's description; its service lies in `folder`."""

    def load() -> Any:
        return partial(FakeBackend, FakeService(folder), info)

    def rehearse(stage: Path) -> Rehearsal:
        return Rehearsal(FakeBackend(FakeService(stage), info), base_model="fake-small", options={"priority": 1})

    def bill(plan: Plan, workload: Workload) -> Bill:
        hours = Interval(low=1, likely=2, high=3)
        line = hour_line("fake machine").model_copy(update={"quantity": hours})
        return Bill(lines=(line,), place="fake machine", hours=hours, training_hours=hours)

    info = BackendInfo(
        name=name,
        title="A fake service on this disk",
        capabilities=capabilities,
        load=load,
        options=FakeOptions,
        rehearse=rehearse,
        billing=lambda: Billing(bill, (PRICE.model_copy(update={"backend": name}),)),
    )
    return info


def _event(line: dict[str, Any]) -> Event:
    number = line["number"]
    at = START + timedelta(seconds=number)
    return Event(id=f"fake-{number}", at=at, message=f"moment {number}: {line['word']}")


def _metric(line: dict[str, Any]) -> Metric:
    number = line["number"]
    return Metric(name="train_loss", value=2.0 / number, step=number, at=START + timedelta(seconds=number))
