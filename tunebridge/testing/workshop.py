"""What works behind an emulator: jobs that are really trained, on this machine, by TuneBridge's own trainer."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunebridge.backend import Generation, GenerationParameters
from tunebridge.client import Client
from tunebridge.data.example import Message
from tunebridge.job import Event, Job, Metric
from tunebridge.spec import JobSpec
from tunebridge.training.config import NANO

SHORT = GenerationParameters(max_tokens=8)
"""Answers that stand in for a teacher's; a rehearsal shows the way, not a better model."""


@dataclass
class _Asked:
    """A prompt that waits for its answer."""

    job_id: str | None
    prompt: Sequence[Message]
    parameters: GenerationParameters
    future: Future[Generation] = field(default_factory=Future)


class Workshop:
    """Trains uploaded rows with the local backend and a small model, in a job store of its own.

    A job here is what the vendor's machines would do; the emulator tells of it in the vendor's words.
    """

    def __init__(self, folder: Path, *, base_model: str = NANO) -> None:
        self._folder, self._base_model = folder, base_model
        self._client = Client(folder / "workshop")
        self._waiting: list[_Asked] = []
        self._turn = threading.Lock()

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

    def answer(self, job_id: str | None, prompt: Sequence[Message], parameters: GenerationParameters) -> Generation:
        """Let a job's tuned model answer, or the base model where `job_id` is None; JobFailed where there is none.

        Loading a model takes seconds, so prompts that come in while others are answered are answered together.
        """
        asked = _Asked(job_id, prompt, parameters)
        self._waiting.append(asked)
        with self._turn:
            if not asked.future.done():
                self._answer_waiting()
        return asked.future.result()

    def with_answers(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return canonical rows, those that end with a question completed by the base model's own answer.

        It stands in for what no emulator has: a teacher, or a reward function.
        """
        open_ends = [row["messages"] for row in rows if row["messages"][-1]["role"] != "assistant"]
        asked = [[Message.model_validate(turn) for turn in turns] for turns in open_ends]
        with ThreadPoolExecutor(max(1, len(asked))) as pool:
            outputs = pool.map(lambda prompt: self.answer(None, prompt, SHORT).output, asked)
            answers = iter([{"role": "assistant", "content": output.strip() or "..."} for output in outputs])
        return [
            {**row, "messages": [*row["messages"], next(answers)]}
            if row["messages"][-1]["role"] != "assistant"
            else dict(row)
            for row in rows
        ]

    def _answer_waiting(self) -> None:
        taken, self._waiting = self._waiting, []
        groups: dict[tuple[str | None, GenerationParameters], list[_Asked]] = {}
        for asked in taken:
            groups.setdefault((asked.job_id, asked.parameters), []).append(asked)
        for (job_id, parameters), group in groups.items():
            where = {"backend": "local"} if job_id is None else {}
            try:
                prompts = [asked.prompt for asked in group]
                answers = list(self._client.generate(job_id or self._base_model, prompts, parameters, **where))
                for asked, answer in zip(group, answers, strict=True):
                    asked.future.set_result(answer)
            except Exception as error:  # each of those who wait has to hear of it
                for asked in group:
                    asked.future.set_exception(error)

    def _keep(self, name: str, content: bytes) -> str:
        path = self._folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        return str(path)
