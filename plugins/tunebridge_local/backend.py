"""The local backend: orchestration of run folders and the trainer's process."""

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tunebridge import digests
from tunebridge.backend import Backend, Check, Generation, GenerationParameters
from tunebridge.data.dataset import Dataset
from tunebridge.data.example import Message
from tunebridge.errors import InvalidRequest, NotFound, SpecError, StoreError
from tunebridge.job import Artifact, Job, JobStatus, Snapshot, Usage
from tunebridge.plan import Plan, Translation
from tunebridge.plugins import missing_requirement
from tunebridge.spec import JobSpec
from tunebridge.training.answer import answer
from tunebridge.training.bundle import write_run
from tunebridge.training.config import (
    ADAPTER_FOLDER,
    CANCEL_FILE,
    MODEL_FOLDER,
    NANO,
    RESULT_FILE,
    RUN_FILE,
    RunConfig,
)
from tunebridge.training.news import log_tail
from tunebridge.training.options import TrainerOptions
from tunebridge.training.sources import locate
from tunebridge.training.translate import translate_run
from tunebridge_local import client
from tunebridge_local.follow import follow, is_leaving
from tunebridge_local.info import INFO

EXPORT_FORMS = ("merged", "safetensors", "gguf")
CANCEL_PATIENCE_SECONDS = 60.0
"""How long a trainer may take to write its checkpoint before it is ended by force."""
LEAVING_SECONDS = 30.0
"""How long a trainer that has ended may take to leave before a resume."""


class LocalBackend(Backend):
    """Trains in a detached process; the run folder inside the job's folder holds everything."""

    info = INFO

    def plan(self, spec: JobSpec, dataset: Dataset) -> Plan:
        """Translate a job into the trainer's RunConfig."""
        job = Translation(spec, dataset, backend="local", capabilities=self.info.capabilities)
        translate_run(job, locate(spec.model_for("local") or NANO))
        job.options(TrainerOptions)
        if job.is_set("budget.max_usd"):
            job.accept("budget.max_usd", "this machine sends no bill")
        return job.plan()

    def submit(self, plan: Plan, job: Job) -> str:
        """Write the run folder and start the trainer; a second call for the same job finds the first one's."""
        run = run_folder(job)
        if not (run / RUN_FILE).exists():
            self._write_run(plan, job)
        client.start(run)
        return job.id

    def find(self, job: Job) -> str | None:
        """Return the job's id when a trainer was started for it."""
        return job.id if client.was_started(run_folder(job)) else None

    def poll(self, job: Job, cursor: str | None) -> Snapshot:
        """Read what the trainer wrote since the cursor and look whether its process lives."""
        run = run_folder(job)
        if job.status.is_terminal:
            ended = {"status": job.status, "backend_status": job.backend_status or "", "error": job.error}
            return follow(run, cursor, is_alive=False).model_copy(update=ended)
        if job.status == JobStatus.cancelling:
            self._end_when_overdue(job)
        alive = client.is_alive(run)  # before reading: what the process wrote last is then surely read
        snapshot = follow(run, cursor, is_alive=alive)
        return snapshot.model_copy(update={"usage": _usage(run)})

    def cancel(self, job: Job) -> None:
        """Ask the trainer to stop; it ends the step, writes a checkpoint and leaves."""
        run = run_folder(job)
        client.write_private(run / CANCEL_FILE, job.updated_at.isoformat())
        client.stop(run)

    def resume(self, job: Job) -> None:
        """Start the trainer again on its run folder; it goes on from the last checkpoint."""
        run = run_folder(job)
        if not (run / RUN_FILE).exists():
            raise NotFound(f"the run folder {run} is gone. Submit the job again.", backend="local", operation="resume")
        _wait_until_gone(run)
        (run / CANCEL_FILE).unlink(missing_ok=True)
        if not client.is_alive(run):
            client.start(run)

    def artifacts(self, job: Job) -> Sequence[Artifact]:
        """Return the adapter or the model."""
        run = run_folder(job)
        folders = ((run / ADAPTER_FOLDER, "adapter"), (run / MODEL_FOLDER, "model"))
        return [_artifact(folder, kind) for folder, kind in folders if folder.is_dir()]

    def download(self, job: Job, artifact: Artifact, folder: Path) -> Path:
        """Copy the adapter or model and compare its digest with the one written after training."""
        source = Path(artifact.uri.removeprefix("file://"))
        target = folder / source.name
        if target.exists():
            raise StoreError(f"{target} exists already. Choose another folder.")
        return digests.require(Path(shutil.copytree(source, target)), artifact.digest)

    def delete(self, job: Job) -> None:
        """Remove the run folder with everything in it."""
        shutil.rmtree(run_folder(job), ignore_errors=True)

    def answers_here(self, target: Job | str) -> bool:
        """Every model answers on this machine."""
        return True

    def generate(
        self, target: Job | str, prompts: Sequence[Sequence[Message]], parameters: GenerationParameters
    ) -> Iterator[Generation]:
        """Yield answers, made by a process of their own in one go."""
        base_model, adapter = (target, None) if isinstance(target, str) else _model_of(target)
        yield from answer(prompts, parameters, base_model=base_model, adapter=adapter, backend="local")

    def export(self, job: Job, folder: Path, *, to: str, push: str | None = None) -> Path:
        """Write the result in another form, in a process of its own."""
        if to not in EXPORT_FORMS:
            raise SpecError(f"{to!r} is no form to export to. Choose one of {', '.join(EXPORT_FORMS)}.")
        base_model, adapter = _model_of(job)
        model = ["--base-model", base_model, *(["--adapter", str(adapter)] if adapter else [])]
        arguments = [*model, "--to", to, "--output", str(folder.absolute())]
        with tempfile.TemporaryDirectory(prefix="tunebridge-") as name:
            log = Path(name) / "export.log"
            try:
                client.run_program("export", [*arguments, *(["--push", push] if push else [])], log)
            except subprocess.CalledProcessError as error:
                reason = log_tail(log, 1) or f"exit code {error.returncode}"
                raise InvalidRequest(reason, backend="local", operation="export") from error
        return folder

    def check(self) -> Check:
        """Tell whether PyTorch and the rest are installed."""
        missing = missing_requirement(self.info)
        if missing:
            return Check(ok=False, detail=f'{missing} is not installed: pip install "tunebridge[local]".')
        return Check(ok=True, detail="PyTorch, transformers and PEFT are installed.")

    def _write_run(self, plan: Plan, job: Job) -> None:
        run = run_folder(job)
        try:
            write_run(run, RunConfig.model_validate({"job_id": job.id, **plan.payload}), job.folder)
        except OSError as error:
            raise InvalidRequest(
                f"the run folder {run} could not be written: {error}. Free some space and submit again.",
                backend="local",
                operation="submit",
            ) from error

    def _end_when_overdue(self, job: Job) -> None:
        run = run_folder(job)
        asked = run / CANCEL_FILE
        if asked.exists() and _age_seconds(asked) > CANCEL_PATIENCE_SECONDS:
            client.stop(run, force=True)


def run_folder(job: Job) -> Path:
    """Return the folder that the trainer works in."""
    return job.folder / "run"


def _wait_until_gone(run: Path) -> None:
    """Let a trainer that has said its last word leave, so that the next one finds the folder free."""
    deadline = time.monotonic() + LEAVING_SECONDS
    while is_leaving(run) and client.is_alive(run) and time.monotonic() < deadline:
        time.sleep(0.05)


def _model_of(job: Job) -> tuple[str, Path | None]:
    """Return the base model and the adapter that make up a finished job's model; a whole model has no adapter."""
    run = run_folder(job)
    own = run / MODEL_FOLDER
    return (str(own), None) if own.is_dir() else (job.base_model, run / ADAPTER_FOLDER)


def _artifact(folder: Path, kind: str) -> Artifact:
    return Artifact.model_validate(
        {
            "kind": kind,
            "uri": folder.as_uri(),
            "digest": digests.of_folder(folder),
            "size_bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        }
    )


def _usage(run: Path) -> Usage:
    try:
        result: dict[str, Any] = json.loads((run / RESULT_FILE).read_text())
    except FileNotFoundError:
        return Usage()
    return Usage(trained_tokens=result.get("trained_tokens"), training_seconds=result.get("wall_seconds"))


def _age_seconds(path: Path) -> float:
    return time.time() - path.stat().st_mtime
