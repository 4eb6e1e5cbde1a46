"""Asking a model every row of a task, once: what it has answered before is read, what is missing is asked and kept."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from tunebridge.backend import GenerationParameters
from tunebridge.data.canonical import canonical_bytes
from tunebridge.data.rendering.preview import visible
from tunebridge.errors import EvaluationError
from tunebridge.evaluation.answers import AnswerBook, AnswerCache
from tunebridge.evaluation.models.model import ModelUnderTest
from tunebridge.evaluation.recorded import open_recorded
from tunebridge.evaluation.task import EvalRow, EvalTask

FIRST_ERRORS = 20
"""Rows that may fail at the beginning, one after the other, before nothing else is asked."""
Progress = Callable[[str, int, int], None]
"""Called with the model's name, the rows that are answered, and the rows in all."""


@dataclass(frozen=True)
class Contender:
    """A model under test, or a file of its answers, under the name that it has in an evaluation."""

    name: str
    model: ModelUnderTest | Path

    @property
    def identity(self) -> Mapping[str, str]:
        """What tells it from others."""
        if isinstance(self.model, Path):
            return {"kind": "recorded", "file": str(self.model)}
        return self.model.identity


@dataclass(frozen=True)
class Collected:
    """A model's answers to every row of a task."""

    book: AnswerBook
    asked: int = 0
    """Rows that were asked now; the others had been answered before."""
    seconds: float = 0.0
    """For those rows, from the first request to the last answer."""


def collect(
    contender: Contender,
    task: EvalTask,
    parameters: GenerationParameters,
    folder: Path,
    *,
    is_fresh: bool = False,
    progress: Progress | None = None,
) -> Collected:
    """Return a model's answers to every row.

    Answers are kept below `folder` by model, row and parameters, each as soon as it is there, so that a call that was
    interrupted is made again and asks only what has no answer yet. `is_fresh` forgets what was kept.
    """
    if isinstance(contender.model, Path):
        return Collected(open_recorded(contender.model, task))
    path = folder / f"{answers_key(contender.model, parameters)}.jsonl"
    if is_fresh:
        path.unlink(missing_ok=True)
    with AnswerCache(path) as cache:
        missing = [row for row in task.rows if row.key not in cache]
        start = time.perf_counter()
        if missing:
            done = len(task) - len(missing)

            def say(new: int) -> None:
                if progress is not None:
                    progress(contender.name, done + new, len(task))

            asyncio.run(_ask(contender, missing, parameters, cache, say))
        return Collected(cache, len(missing), time.perf_counter() - start)


async def _ask(
    contender: Contender,
    rows: Sequence[EvalRow],
    parameters: GenerationParameters,
    cache: AnswerCache,
    say: Callable[[int], None],
) -> None:
    assert not isinstance(contender.model, Path)
    waiting = {number: row.key for number, row in enumerate(rows)}
    is_hopeless = not len(cache)  # rows that failed in an earlier run may well fail again
    # Closed at once where an answer cannot be kept or Ctrl-C comes: what is under way must not go on behind it.
    async with aclosing(contender.model.answers(rows, parameters)) as answers:
        async for number, answer in answers:
            cache.add(waiting.pop(number), answer)
            done = len(rows) - len(waiting)
            say(done)
            is_hopeless = is_hopeless and not answer.is_final
            if is_hopeless and done == FIRST_ERRORS < len(rows):
                raise EvaluationError(
                    f"The first {done} rows that {contender.name} was asked all failed "
                    f"({visible(answer.error or '')}), so no more were asked. Mend that and run it again."
                )
    if waiting:
        raise EvaluationError(f"{contender.name} left {len(waiting)} rows unanswered. Run it again to ask those.")


def answers_key(model: ModelUnderTest, parameters: GenerationParameters) -> str:
    """Return under which name a model's answers are kept: a digest of who it is and how it is asked."""
    who = [dict(model.identity), parameters.model_dump(mode="json")]
    return hashlib.sha256(canonical_bytes(who)).hexdigest()[:32]
