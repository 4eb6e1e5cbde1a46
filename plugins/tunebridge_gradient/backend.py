"""The gradient backend: an adapter at the service, and a worker of ours that tunes it call by call."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tunebridge.backend import Backend, Check, Generation, GenerationParameters, RemoteJob
from tunebridge.data.dataset import Dataset, Split
from tunebridge.data.example import Message
from tunebridge.data.shapes.prompts import dialogue
from tunebridge.errors import BackendError, InvalidRequest
from tunebridge.job import Artifact, Job, Snapshot, Usage
from tunebridge.plan import Plan
from tunebridge.spec import JobSpec
from tunebridge.training.news import read_news
from tunebridge_gradient import client, worker
from tunebridge_gradient.info import INFO
from tunebridge_gradient.rows import SHAPES
from tunebridge_gradient.status import backend_error, job_status
from tunebridge_gradient.translate import translate

MAX_ANSWER_TOKENS = 511
CONCURRENT_ANSWERS = 4


class GradientBackend(Backend):
    """Tunes an adapter by calls; the worker's folder inside the job's holds how far it is."""

    info = INFO

    def __init__(
        self,
        connect: Callable[[Mapping[str, Any]], client.Remote] = lambda connection: client.Remote(
            client.access(connection)
        ),
        launch: Callable[[Path], None] = worker.start,
    ) -> None:
        self._connect, self._launch = connect, launch

    def plan(self, spec: JobSpec, dataset: Dataset) -> Plan:
        """Translate a job into an adapter and the calls that tune it."""
        return translate(spec, dataset, self.info.capabilities)

    def submit(self, plan: Plan, job: Job) -> str:
        """Write what the worker needs, create the adapter under our id with one call, then start the worker."""
        folder = worker_folder(job)
        _write_samples(job.folder / "train.jsonl", folder, plan.payload["calls"]["shape"])
        _write_task(folder, {**plan.payload["calls"], "connection": plan.connection})
        adapter_id = self._connect(job.connection).create(job.id, plan.payload["adapter"])
        self._start(folder, adapter_id)
        return adapter_id

    def find(self, job: Job) -> str | None:
        """Look for an adapter that has our id as its name."""
        remote = self._connect(job.connection)
        return next((found for found, name in remote.adapters("find") if name == job.id), None)

    def poll(self, job: Job, cursor: str | None) -> Snapshot:
        """Read what the worker wrote since the cursor; a job that was found without a worker gets one."""
        folder = worker_folder(job)
        alive = worker.is_alive(folder)  # before reading: what the process wrote last is then surely read
        if not job.status.is_terminal:
            self._connect(job.connection).look(job.backend_id or "")
            if not alive and not (folder / worker.EVENTS_FILE).exists():
                self._start(folder, job.backend_id or "")
                alive = True
        return _snapshot(folder, job, cursor, alive=alive)

    def cancel(self, job: Job) -> None:
        """Ask the worker to stop before the next chunk."""
        (worker_folder(job) / worker.CANCEL_FILE).touch(mode=0o600)

    def resume(self, job: Job) -> None:
        """Start a worker that goes on with the chunk after the last one that is known to be applied."""
        folder = worker_folder(job)
        (folder / worker.CANCEL_FILE).unlink(missing_ok=True)
        if not worker.is_alive(folder):
            self._start(folder, job.backend_id or "")

    def artifacts(self, job: Job) -> Sequence[Artifact]:
        """Return the adapter's id, nothing where it was deleted."""
        remote = self._connect(job.connection)
        there = {found for found, _ in remote.adapters("artifacts")}
        return [Artifact(kind="model_id", uri=job.backend_id)] if job.backend_id in there else []

    def generate(
        self, target: Job | str, prompts: Sequence[Sequence[Message]], parameters: GenerationParameters
    ) -> Iterator[Generation]:
        """Yield one answer per prompt, asked as the samples were written; the service has no seed."""
        remote = self._connect(target.connection if isinstance(target, Job) else {})
        model = (target.backend_id or "") if isinstance(target, Job) else remote.base_id(target)
        most = min(parameters.max_tokens, MAX_ANSWER_TOKENS)

        def answer(prompt: Sequence[Message]) -> Generation:
            query = dialogue([turn.model_dump(mode="json", exclude_none=True) for turn in prompt])
            ended, text = remote.complete(model, query, max_tokens=most, temperature=parameters.temperature)
            reason = "length" if ended.lower() in ("length", "maxlength", "max_length") else "stop"
            return Generation.model_validate({"output": _first_turn(text), "finish_reason": reason})

        with ThreadPoolExecutor(CONCURRENT_ANSWERS) as pool:
            yield from pool.map(answer, prompts)

    def list_jobs(self) -> Iterator[RemoteJob]:
        """Yield the adapters of the environment's workspace: the service knows nothing else of a job."""
        for found, name in self._connect({}).adapters():
            yield RemoteJob(backend_id=found, backend_status="adapter", job_id=name if name.startswith("tb-") else None)

    def delete(self, job: Job) -> None:
        """Delete the adapter, and the samples that were kept for the worker."""
        self._connect(job.connection).delete(job.backend_id or "")
        shutil.rmtree(worker_folder(job), ignore_errors=True)

    def check(self) -> Check:
        """Tell whether the environment's host answers."""
        try:
            slugs = self._connect({}).slugs()
        except BackendError as error:
            return Check(ok=False, detail=str(error))
        return Check(ok=True, detail=f"The host answers and has {len(slugs)} base models. {self.info.notice}")

    def classify(self, error: Exception, operation: str) -> BackendError:
        """Turn what the SDK raises into a BackendError."""
        return error if isinstance(error, BackendError) else backend_error(error, operation)

    def _start(self, folder: Path, adapter_id: str) -> None:
        task = json.loads((folder / worker.TASK_FILE).read_bytes())
        _write_task(folder, {**task, "adapter_id": adapter_id})
        self._launch(folder)


def worker_folder(job: Job) -> Path:
    """Return the folder that the worker works in."""
    return job.folder / "worker"


def _snapshot(folder: Path, job: Job, cursor: str | None, *, alive: bool) -> Snapshot:
    """Return what was written behind the byte of the cursor, and the state that follows from all of it."""
    path, start = folder / worker.EVENTS_FILE, int(cursor or 0)
    text = path.read_bytes() if path.exists() else b""
    end = max(text.rfind(b"\n") + 1, start)  # the last line may be half written
    news, whole = read_news(text[start:end].split(b"\n")), read_news(text[:end].split(b"\n"))
    word, error = whole.word or "queued", whole.failure
    if job.status.is_terminal and not alive:
        word, error = job.backend_status or word, job.error
    elif alive and job_status(word).is_terminal:
        word, error = "running", None  # a last word from before a resume says nothing of the worker that goes on
    elif not alive and not job_status(word).is_terminal:
        word, error = _ended_silently(folder)
    tokens = sum(event.data["tokens"] for event in whole.events if event.kind == "progress")
    return Snapshot(
        status=job_status(word),
        backend_status=word,
        cursor=str(end),
        events=news.events,
        metrics=news.metrics,
        usage=Usage(trained_tokens=tokens),
        error=error,
    )


def _ended_silently(folder: Path) -> tuple[str, str | None]:
    if (folder / worker.CANCEL_FILE).exists():
        return "cancelled", None
    return "failed", (
        f"the worker ended without a word after chunk {len(worker.applied(folder))}; the chunk after it may have been "
        f"applied, and is sent again by a resume. See {folder / worker.LOG_FILE}"
    )


def _write_samples(rows: Path, folder: Path, shape: str) -> None:
    """Write the samples of the rows; InvalidRequest names the first row that cannot be one."""
    folder.mkdir(mode=0o700, exist_ok=True)
    with open(folder / worker.SAMPLES_FILE, "wb", opener=worker.private) as file:
        for number, example in enumerate(Split.read(rows), start=1):
            converted = SHAPES[shape].convert(example.to_json())
            if converted.refused:
                raise InvalidRequest(
                    f"row {number} of train: {converted.refused.message}. Check the rows with "
                    f"`tunebridge data check --for gradient`.",
                    backend="gradient",
                    operation="submit",
                )
            file.writelines(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in converted.rows)


def _write_task(folder: Path, task: Mapping[str, Any]) -> None:
    partial = folder / f"{worker.TASK_FILE}.partial"
    with open(partial, "w", opener=worker.private) as file:
        json.dump(task, file)
    partial.rename(folder / worker.TASK_FILE)


def _first_turn(text: str) -> str:
    """Return an answer without the turns that a model goes on to write for the user."""
    return text.split("\n\nUser:", 1)[0].strip()
