"""A backend whose model repeats the question."""

from collections.abc import Iterator, Sequence

from tunebridge.backend import Backend, BackendInfo, Generation, GenerationParameters
from tunebridge.capabilities import Capabilities
from tunebridge.data.dataset import Dataset
from tunebridge.data.example import Message
from tunebridge.hookspecs import hookimpl
from tunebridge.job import Artifact, Event, Job, JobStatus, Snapshot
from tunebridge.plan import Plan, Translation
from tunebridge.spec import JobSpec
from tunebridge.testing.case import BackendCase, small_dataset

CAPABILITIES = Capabilities(
    methods=frozenset({"sft"}),
    adapters=frozenset({"lora"}),
    dataset_kinds=frozenset({"sft"}),
    fields=frozenset({"base_model", "hyperparameters.epochs"}),
    events=True,
    inference=True,
)


class EchoBackend(Backend):
    """Writes one file per job into the job's folder."""

    @property
    def info(self) -> BackendInfo:  # type: ignore[override]
        return INFO

    def plan(self, spec: JobSpec, dataset: Dataset) -> Plan:
        job = Translation(spec, dataset, backend="echo", capabilities=CAPABILITIES)
        job.base_model("model")
        job.take("hyperparameters.epochs", "n_epochs", default=1, source="echo's default")
        return job.plan()

    def submit(self, plan: Plan, job: Job) -> str:
        (job.folder / "echo.txt").write_text(plan.digest)
        return f"echo-{job.id}"

    def find(self, job: Job) -> str | None:
        return f"echo-{job.id}" if (job.folder / "echo.txt").exists() else None

    def poll(self, job: Job, cursor: str | None) -> Snapshot:
        events = () if cursor else (Event(id="done", at=job.created_at, message="Nothing was trained."),)
        return Snapshot(status=JobStatus.succeeded, backend_status="done", cursor="end", events=events)

    def cancel(self, job: Job) -> None:
        raise self.unsupported("cancel")

    def artifacts(self, job: Job) -> Sequence[Artifact]:
        return [Artifact(kind="model_id", uri=f"echo:{job.id}")]

    def generate(
        self, target: Job | str, prompts: Sequence[Sequence[Message]], parameters: GenerationParameters
    ) -> Iterator[Generation]:
        yield from (Generation(output=str(prompt[-1].content)) for prompt in prompts)


def _case() -> BackendCase:
    spec = JobSpec.model_validate({"backend": "echo", "base_model": "parrot", "data": {"train": "rows.jsonl"}})
    return BackendCase(info=INFO, spec=spec, dataset=small_dataset())


INFO = BackendInfo("echo", "Repeats the question", CAPABILITIES, lambda: EchoBackend, conformance=_case)


@hookimpl
def tunebridge_backends() -> list[BackendInfo]:
    return [INFO]
