"""The contract of a model under test, and asking many rows at once with a bound."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

from tunebridge.backend import GenerationParameters
from tunebridge.evaluation.answers import Answer
from tunebridge.evaluation.task import EvalRow

Numbered = tuple[int, Answer]
"""Number of the row among those that were asked, and its answer."""


class ModelUnderTest(Protocol):
    """Something that answers; it says who it is, so that its answers can be kept and found again."""

    @property
    def identity(self) -> Mapping[str, str]:
        """What tells the model from every other one, without a secret; its answers are kept under it."""

    def answers(self, rows: Sequence[EvalRow], parameters: GenerationParameters) -> AsyncGenerator[Numbered, None]:
        """Yield the answer of each row as it comes, in any order.

        An answer that failed is an Answer that says so. A TuneBridgeError means that no row can be answered.
        """


class Patience(NamedTuple):
    """How a model is asked over a network."""

    concurrency: int = 16
    """Rows that are asked at the same time."""
    timeout_seconds: float = 120.0
    """For one row's answer."""
    attempts: int = 5
    """For one row, with growing pauses, where the service says that it is busy or does not answer."""

    def pause_seconds(self, attempt: int, retry_after: float | None = None) -> float:
        """Return how long to wait before the next attempt, the first being 1."""
        return min(60.0, retry_after if retry_after is not None else 0.5 * 2 ** (attempt - 1))


async def at_most(most: int, count: int, ask: Callable[[int], Awaitable[Answer]]) -> AsyncGenerator[Numbered, None]:
    """Yield the answers of `count` rows as they come, never more than `most` under way.

    Whoever stops reading stops the asking: what is under way is cancelled.
    """

    async def numbered(number: int) -> Numbered:
        return number, await ask(number)

    numbers = iter(range(count))
    running: set[asyncio.Task[Numbered]] = set()
    done: set[asyncio.Task[Numbered]] = set()
    try:
        while True:
            running |= {asyncio.create_task(numbered(number)) for number in islice(numbers, most - len(running))}
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, *done, return_exceptions=True)  # several may have failed at once
