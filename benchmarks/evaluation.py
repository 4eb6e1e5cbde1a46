"""How fast an endpoint is asked: `python -m benchmarks.evaluation` beside the OpenAI SDK with as many requests at once.

The endpoint is on this machine and takes 200 ms for an answer; 1,000 rows at concurrency 32 cannot take less than
1,000 / 32 * 0.2 = 6.25 seconds.
"""

import asyncio
import multiprocessing
import resource
import tempfile
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from tests.evaluation.endpoint import Endpoint
from tests.evaluation.rows import rows, twice, write
from tunebridge.backend import GenerationParameters
from tunebridge.data.dataset import Split
from tunebridge.evaluation.models.endpoint import EndpointModel
from tunebridge.evaluation.models.model import Patience
from tunebridge.evaluation.runner import Contender, collect
from tunebridge.evaluation.task import EvalTask, task_of

ROWS, CONCURRENCY, SECONDS = 1_000, 32, 0.2


def ours(url: str, task: EvalTask, folder: Path) -> float:
    """Ask with TuneBridge, every answer kept on disk."""
    start = time.perf_counter()
    model = EndpointModel(url, "tiny", patience=Patience(concurrency=CONCURRENCY))
    collect(Contender("tiny", model), task, GenerationParameters(), folder)
    return time.perf_counter() - start


def openai_sdk(url: str, task: EvalTask) -> float:
    """Ask with the OpenAI SDK's asynchronous client behind a semaphore, answers kept in memory."""
    from openai import AsyncOpenAI

    async def ask_all() -> None:
        turn = asyncio.Semaphore(CONCURRENCY)
        async with AsyncOpenAI(base_url=url, api_key="none") as client:

            async def ask(prompt: str) -> None:
                async with turn:
                    await client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": prompt}])

            await asyncio.gather(*(ask(row.text) for row in task.rows))

    start = time.perf_counter()
    asyncio.run(ask_all())
    return time.perf_counter() - start


def serve(connection: Connection) -> None:
    """Run the endpoint until its process is ended; in a process of its own it takes no time from those who ask."""
    with suppress(EOFError, KeyboardInterrupt), Endpoint(twice, delay_seconds=SECONDS) as served:
        connection.send(served.url)
        connection.recv()


def main() -> None:
    """Print both times and their ratio."""
    here, there = multiprocessing.Pipe()
    multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True).start()
    url = here.recv()
    with tempfile.TemporaryDirectory() as name:
        task = task_of(Split.read(write(Path(name) / "rows.jsonl", rows(ROWS))))
        mine, theirs = ours(url, task, Path(name)), openai_sdk(url, task)
    least = ROWS / CONCURRENCY * SECONDS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{ROWS} rows, {CONCURRENCY} at once, {SECONDS} s each: at least {least:.2f} s")
    print(f"TuneBridge {mine:.2f} s, OpenAI SDK {theirs:.2f} s, ratio {theirs / mine:.2f}; peak {peak:.0f} MiB for all")


if __name__ == "__main__":
    main()
