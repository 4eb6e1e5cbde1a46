"""The facade's part for evaluations: models by what a user writes, the guards, and where answers are kept."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from tunebridge.backend import Backend, GenerationParameters
from tunebridge.data.dataset import StoredSplit
from tunebridge.data.loading import load_dataset
from tunebridge.errors import EvaluationError, JobNotFound
from tunebridge.evaluation import evaluate as evaluating
from tunebridge.evaluation import guards
from tunebridge.evaluation.evaluate import Evaluated, Plan
from tunebridge.evaluation.guards import Trained
from tunebridge.evaluation.judge import Judge
from tunebridge.evaluation.models.backend import BackendModel
from tunebridge.evaluation.models.endpoint import EndpointModel
from tunebridge.evaluation.models.function import FunctionModel
from tunebridge.evaluation.models.local import Host, LocalModel, template_of
from tunebridge.evaluation.models.model import ModelUnderTest, Patience
from tunebridge.evaluation.pareto import Choice, choice
from tunebridge.evaluation.recorded import write_recorded
from tunebridge.evaluation.request import BASE, TUNED, Request, parse_metric, parse_price
from tunebridge.evaluation.runner import Collected, Contender, Progress, collect
from tunebridge.evaluation.task import EvalTask, task_of
from tunebridge.job import Artifact, Job
from tunebridge.plugins import Plugins
from tunebridge.spec import DataSpec
from tunebridge.training.sources import locate

FUNCTION = re.compile(r"(.+\.py):(\w+)")
KINDS = "a job's id, a folder, BASE+ADAPTER, a hub id, BACKEND:MODEL, https://HOST/v1#MODEL, or FILE.py:FUNCTION"


class Jobs(Protocol):
    """What evaluations need of the client."""

    plugins: Plugins

    def backend(self, name: str) -> Backend:
        """Return a backend by name."""

    def finished(self, job_id: str) -> tuple[Job, Backend]:
        """Return a job that has succeeded, and its backend."""

    def artifacts(self, job_id: str) -> Sequence[Artifact]:
        """Return the results of a job."""


@dataclass
class Found:
    """A model that a user named, and the job that it came from, if it did."""

    model: ModelUnderTest
    job: Job | None = None


class Evaluations:
    """What is done with models under test; answers are kept in the job store's folder."""

    def __init__(self, jobs: Jobs, home: Path) -> None:
        self._jobs, self._home = jobs, home
        self.patience = Patience()
        """How models are asked over a network."""
        self._hosts: dict[str, Host] = {}

    def task(self, data: Path, *, format: str | None = None, schema: Mapping[str, Any] | None = None) -> EvalTask:
        """Return a file's rows as a task; DataError or EvaluationError where a row is wrong."""
        spec = DataSpec(train=str(data), format=format)
        return task_of(self._rows(spec), name=str(data), schema=schema)

    def model(self, ref: str, *, label: str = "") -> Found:
        """Return the model that a text stands for; EvaluationError where it stands for none.

        A job whose result is an adapter or a model on this machine shares its base model's process with others.
        """
        if ref.startswith(("http://", "https://")):
            url, _, name = ref.partition("#")
            if not name:
                raise EvaluationError(f"{ref} names no model. Write it as URL#MODEL.")
            return Found(EndpointModel(url, name, label, self.patience))
        if found := FUNCTION.fullmatch(ref):
            return Found(FunctionModel(Path(found[1]), found[2], self.patience))
        base, plus, adapter = ref.rpartition("+")
        if plus and (Path(adapter) / "adapter_config.json").is_file():
            return Found(self._local(base, Path(adapter)))
        if (Path(ref) / "adapter_config.json").is_file():
            return Found(self._local(_base_of(Path(ref)), Path(ref)))
        backend, colon, name = ref.partition(":")
        if colon and backend in self._jobs.plugins.backends():
            return Found(BackendModel(self._jobs.backend(backend), name, self.patience))
        if "/" in ref or Path(ref).is_dir():
            return Found(self._local(ref))
        return self._of_job(ref)

    def base_of(self, job: Job) -> ModelUnderTest:
        """Return the base model of a job: here where the tuned model answers here too, else on its backend."""
        _, backend = self._jobs.finished(job.id)
        if backend.answers_here(job):
            return self._local(job.base_model)
        return BackendModel(backend, job.base_model, self.patience)

    def plan(self, request: Request) -> Plan:
        """Return what is to be asked of whom, after the guards; nothing is asked yet."""
        task = self.task(request.data, format=request.format, schema=_schema(request.schema_file))
        found = self._models(request)
        self.check(task, [model for model in found.values() if isinstance(model, Found)], request.train)
        if not found:
            raise EvaluationError("There is no model to evaluate. Give a job, --model NAME=MODEL or --recorded.")
        judge = Contender("judge", self.model(request.judge, label="judge").model) if request.judge else None
        return Plan(
            task=task,
            contenders=[Contender(name, f.model if isinstance(f, Found) else f) for name, f in found.items()],
            metrics=[parse_metric(text) for text in request.metrics],
            baseline=request.baseline or (BASE if BASE in found else next(iter(found))),
            prices={name: parse_price(text) for name, text in request.prices.items()},
            judge=Judge(judge, request.rubric) if judge else None,
            **request.model_dump(include={"margin", "confidence", "group", "seed", "resamples"}),
            parameters=request.parameters,
        )

    def _models(self, request: Request) -> dict[str, "Found | Path"]:
        found: dict[str, Found | Path] = {}
        if request.job:
            tuned = self._of_job(request.job)
            assert tuned.job
            found = {BASE: Found(self.base_of(tuned.job)), TUNED: tuned}
        if twice := sorted({*found, *request.models} & {*request.recorded} | ({*found} & {*request.models})):
            raise EvaluationError(f"Two models are called {twice[0]!r}. Give each a name of its own.")
        found |= {name: self.model(ref, label=name) for name, ref in request.models.items()}
        return {**found, **request.recorded}

    def check(self, task: EvalTask, found: Sequence[Found], train: Sequence[Path] = ()) -> None:
        """Raise EvaluationError where the task's rows were trained on, or a model learnt with another chat template.

        `train` names files of training rows of models that are no jobs of this store.
        """
        for job in {each.job.id: each.job for each in found if each.job}.values():
            guards.refuse_trained_rows(task, guards.training_rows(job))
            guards.refuse_other_template(job)
        for path in train:
            rows = self._rows(DataSpec(train=str(path)))
            guards.refuse_trained_rows(task, Trained(f"the model on {path}", rows.path, rows.fingerprint))
        for each in found:
            if isinstance(each.model, LocalModel) and each.model.adapter:
                learnt = template_of(each.model.adapter)
                if learnt is not None:
                    guards.require_template(learnt, each.model.host.base_model, f"the adapter {each.model.adapter}")

    def evaluate(self, plan: Plan, *, is_fresh: bool = False, progress: Progress | None = None) -> Evaluated:
        """Ask, score and compare; what was answered before is not asked again unless `is_fresh`."""
        return evaluating.evaluate(plan, self.folder, is_fresh=is_fresh, progress=progress)

    def compare(
        self, jobs: Sequence[str], request: Request, *, is_same_data: bool = True, progress: Progress | None = None
    ) -> Choice:
        """Ask finished jobs of any backends the same rows, and return quality against cost and latency.

        EvaluationError where the jobs were trained on different rows, unless not `is_same_data`.
        """
        found = [self._jobs.finished(name)[0] for name in jobs]
        if is_same_data:
            guards.refuse_different_data(found)
        backends = [job.backend for job in found]
        names = {job.id: job.backend if backends.count(job.backend) == 1 else job.id for job in found}
        models = {names[job.id]: job.id for job in found}
        plan = self.plan(request.model_copy(update={"models": {**models, **request.models}}))
        return choice([self.evaluate(plan, progress=progress).result])

    def record(
        self,
        task: EvalTask,
        contender: Contender,
        path: Path,
        parameters: GenerationParameters,
        *,
        progress: Progress | None = None,
    ) -> Collected:
        """Write a model's answers to every row into a file that stands for the model from then on."""
        found = collect(contender, task, parameters, self.folder, progress=progress)
        write_recorded(path, task, found.book)
        return found

    @property
    def folder(self) -> Path:
        """Where answers are kept."""
        return self._home / "answers"

    def _rows(self, spec: DataSpec) -> StoredSplit:
        rows = load_dataset(spec, readers=self._jobs.plugins.readers(), folder=self._home / "data").train
        assert isinstance(rows, StoredSplit)
        return rows

    def _local(self, base_model: str, adapter: Path | None = None) -> LocalModel:
        name = locate(base_model).name
        return LocalModel(self._hosts.setdefault(name, Host(name)), adapter and adapter.absolute())

    def _of_job(self, ref: str) -> Found:
        try:
            job, backend = self._jobs.finished(ref)
        except JobNotFound:
            raise EvaluationError(f"{ref!r} is no model: there is no job of that id. Give {KINDS}.") from None
        kept = next((a for a in self._jobs.artifacts(job.id) if a.uri.startswith("file://")), None)
        if kept is None or not backend.answers_here(job):
            return Found(BackendModel(backend, job, self.patience), job)
        folder = Path(unquote(urlsplit(kept.uri).path))
        if kept.kind == "adapter":
            return Found(self._local(job.base_model, folder), job)
        return Found(self._local(str(folder)), job)


def _schema(path: Path | None) -> Mapping[str, Any] | None:
    if path is None:
        return None
    try:
        return json.loads(path.read_bytes())  # type: ignore[no-any-return]
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path} is no JSON schema that can be read ({error}). Check --schema.") from None


def _base_of(adapter: Path) -> str:
    """Return the base model that an adapter's own record names."""
    try:
        return str(json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"])
    except (OSError, ValueError, KeyError):
        raise EvaluationError(f"{adapter} does not say which base model it is for. Write BASE+ADAPTER.") from None
