"""What works behind an emulator: jobs that are really trained, on this machine, by TuneBridge's own trainer."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tunebridge.backend import Generation, GenerationParameters
from tunebridge.client import Client
from tunebridge.data.example import Message
from tunebridge.job import Event, Job, Metric
from tunebridge.spec import JobSpec
from tunebridge.training.config import NANO


class Workshop:
    """Trains uploaded rows with the local backend and a small model, in a job store of its own.

    A job here is what the vendor's machines would do; the emulator tells of it in the vendor's words.
    """

    def __init__(self, folder: Path, *, base_model: str = NANO) -> None:
        self._folder, self._base_model = folder, base_model
        self._client = Client(folder / "workshop")

    def start(self, name: str, rows: bytes, validation: bytes | None = None, **fields: Any) -> str:
        """Begin to train uploaded rows (canonical, or a shape that TuneBridge reads) and return the job's id here.

        `fields` are sections of a JobSpec, such as `hyperparameters={"epochs": 2}`. DataError and SpecError when the
        rows or the fields are not what the trainer takes.
        """
        files = {"train": self._keep(f"{name}-train.jsonl", rows)}
        if validation is not None:
            files["validation"] = self._keep(f"{name}-validation.jsonl", validation)
        spec = {"backend": "local", "base_model": self._base_model, "data": files, "metadata": {"for": name}, **fields}
        return self._client.submit(JobSpec.model_validate(spec), again=True).id

    def look(self, job_id: str) -> Job:
        """Return the job as it is now."""
        return self._client.get(job_id)

    def events(self, job_id: str) -> Sequence[Event]:
        """Return what has happened to the job, oldest first."""
        return [event for _, event in self._client.events(job_id)]

    def metrics(self, job_id: str) -> Sequence[Metric]:
        """Return what was measured, by name and step."""
        return self._client.metrics(job_id)

    def stop(self, job_id: str) -> None:
        """Ask for the job's end; it keeps a checkpoint."""
        self._client.cancel(job_id)

    def resume(self, job_id: str) -> None:
        """Go on with a job that was stopped."""
        self._client.resume(job_id)

    def download(self, job_id: str, folder: Path) -> Path:
        """Copy the trained adapter or model into a folder and return where it is."""
        return next(iter(self._client.download(job_id, folder)))

    def answer(
        self, job_id: str, prompts: Iterable[Sequence[Message]], parameters: GenerationParameters
    ) -> Sequence[Generation]:
        """Let the tuned model answer; a job that has not succeeded has none (JobFailed)."""
        return list(self._client.generate(job_id, list(prompts), parameters))

    def _keep(self, name: str, content: bytes) -> str:
        path = self._folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        return str(path)
