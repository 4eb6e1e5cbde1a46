"""A finished job, or a base model by name, asked through its backend's `generate`."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tunebridge.backend import Backend, Generation, GenerationParameters
from tunebridge.errors import (
    AuthenticationError,
    BackendError,
    EvaluationError,
    NotFound,
    PermissionDenied,
)
from tunebridge.evaluation.answers import Answer, failure_of
from tunebridge.evaluation.models.model import Numbered, Patience, at_most
from tunebridge.evaluation.task import EvalRow
from tunebridge.job import Job

HOPELESS = (AuthenticationError, PermissionDenied, NotFound)
"""What no other row can get around."""


@dataclass(frozen=True)
class BackendModel:
    """A job's tuned model, or a base model, on a backend."""

    backend: Backend
    target: Job | str
    patience: Patience = Patience()

    @property
    def identity(self) -> Mapping[str, str]:
        """The job, or the backend's base model; a rehearsal is another backend than the real one."""
        if isinstance(self.target, str):
            return {"kind": "base model", "backend": self.backend.info.name, "model": self.target}
        rehearsal = {"rehearsal": "yes"} if self.target.rehearsal else {}
        return {"kind": "job", "backend": self.target.backend, "job": self.target.id, **rehearsal}

    async def answers(
        self, rows: Sequence[EvalRow], parameters: GenerationParameters
    ) -> AsyncGenerator[Numbered, None]:
        """Yield the answers: of one call where the model is loaded for it on this machine, else of a call per row."""
        if any(row.tools for row in rows):
            raise EvaluationError(
                "A backend's `generate` takes no tools, and the rows have some. Ask an OpenAI-compatible endpoint."
            )
        together = self.backend.answers_here(self.target)
        asking = self._together(rows, parameters) if together else self._apart(rows, parameters)
        async for numbered in asking:
            yield numbered

    async def _together(
        self, rows: Sequence[EvalRow], parameters: GenerationParameters
    ) -> AsyncGenerator[Numbered, None]:
        answers = self._generate(rows, parameters)
        for number in range(len(rows)):
            found = await asyncio.to_thread(next, answers, None)
            if found is None:
                raise EvaluationError(f"{self.backend.info.name} left {len(rows) - number} rows unanswered. Try again.")
            yield number, answer_of(found)

    async def _apart(self, rows: Sequence[EvalRow], parameters: GenerationParameters) -> AsyncGenerator[Numbered, None]:
        most = self.patience.concurrency
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(most, thread_name_prefix="evaluation") as pool:

            async def ask(number: int) -> Answer:
                def one() -> Generation:
                    return next(self._generate(rows[number : number + 1], parameters))

                return await self._patiently(lambda: asyncio.wrap_future(pool.submit(one), loop=loop))

            async for numbered in at_most(most, len(rows), ask):
                yield numbered

    def _generate(self, rows: Sequence[EvalRow], parameters: GenerationParameters) -> Iterator[Generation]:
        return iter(self.backend.generate(self.target, [row.prompt for row in rows], parameters))

    async def _patiently(self, ask: "Callable[[], asyncio.Future[Generation]]") -> Answer:
        """Return one row's answer, asked again while the backend says that this may help."""
        for attempt in range(1, self.patience.attempts + 1):
            start = time.perf_counter()
            try:
                async with asyncio.timeout(self.patience.timeout_seconds):
                    found = await ask()
                return answer_of(found).model_copy(update={"latency_seconds": round(time.perf_counter() - start, 6)})
            except TimeoutError:
                return Answer(failure="timeout", error="no answer in time")
            except HOPELESS:
                raise
            except BackendError as error:
                if not error.retryable or attempt == self.patience.attempts:
                    return Answer(failure="error", error=str(error))
                await asyncio.sleep(self.patience.pause_seconds(attempt, error.retry_after))
        raise AssertionError("there is at least one attempt")


def answer_of(found: Generation) -> Answer:
    """Return a backend's answer as one that is kept."""
    failure = failure_of(found.finish_reason)
    return Answer(output=found.output, failure=failure, output_tokens=found.tokens)
