"""The one pass over files of any size: blocks of rows become batches, here or in several processes, merged in order."""

import multiprocessing
import pickle
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from tunebridge.data.batch import Batch, Recipe, Side, convert_batch
from tunebridge.data.blocks import Block
from tunebridge.data.collect import Collector, Report
from tunebridge.data.decode import sample
from tunebridge.data.readers import READERS, Reader, choose, rename
from tunebridge.data.sources import Source, find
from tunebridge.data.split import Splitter
from tunebridge.data.targets import CanonicalRow, Target
from tunebridge.errors import DataError

Progress = Callable[[int, int | None], None]
"""Called with bytes read and bytes in all, None where they are not known."""


class Sink(Protocol):
    """Takes the good rows, in order."""

    def write(self, side: Side, *, held_out: bool) -> None:
        """Take the next rows of one side."""


@dataclass(frozen=True)
class Job:
    """Which rows are read, and what is done with them."""

    train: tuple[Source, ...]
    validation: tuple[Source, ...] = ()
    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    readers: tuple[Reader, ...] = READERS
    splitter: Splitter | None = None
    target: Target | None = None
    count_tokens: Callable[[CanonicalRow], int] | None = None
    max_tokens: int | None = None
    max_problems: int = 50
    workers: int = 1

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every file, the held-out ones last."""
        return (*self.train, *self.validation)

    @property
    def size(self) -> int | None:
        """Bytes of all files, None where one is not known."""
        sizes = [source.size for source in self.sources]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None


def sources_of(names: str | Sequence[str] | None) -> tuple[Source, ...]:
    """Return the files that names in a job file stand for."""
    return tuple(find(names)) if names else ()


def run(
    job: Job,
    sink: Sink | None = None,
    *,
    rejected: Callable[[str, Batch], None] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Read every row once and return what was found; good rows go to the sink, wrong ones to `rejected`."""
    if job.splitter is not None and job.splitter.is_survey:
        job = replace(job, splitter=_surveyed(job, job.splitter))
    collector = _collector(job)
    done = 0
    for step in _steps(job, collector):
        collector.add(step.file, step.batch)
        if sink is not None:
            sink.write(step.batch.train, held_out=False)
            sink.write(step.batch.held_out, held_out=True)
        if rejected is not None and step.batch.rejected:
            rejected(job.sources[step.file].name, step.batch)
        done += step.size
        if progress is not None:
            progress(done, job.size)
    return collector.report(max_tokens=job.max_tokens)


def batches(job: Job) -> Iterator[Batch]:
    """Yield what becomes of the rows, block by block, without looking among them."""
    return (step.batch for step in _steps(job, _collector(job)))


def _collector(job: Job) -> Collector:
    return Collector([source.name for source in job.sources], max_problems=job.max_problems)


class _Step(NamedTuple):
    file: int
    size: int
    batch: Batch


class _Task(NamedTuple):
    block: Block
    recipe: Recipe


def _surveyed(job: Job, splitter: Splitter) -> Splitter:
    """Read the rows once to count the strata; what is wrong with them is said when they are read again."""
    strata: dict[str, array[float]] = {}
    for batch in batches(replace(job, target=None, count_tokens=None)):
        splitter.merge(strata, batch.strata)
    return splitter.decided(strata)


def _steps(job: Job, collector: Collector) -> Iterator[_Step]:
    tasks = _tasks(job, collector)
    if job.workers <= 1:
        for task in tasks:
            yield _step(task, _work(task))
        return
    _require_portable(job)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(job.workers, mp_context=context) as pool:
        waiting: deque[tuple[_Task, Future[Batch]]] = deque()
        for task in tasks:
            waiting.append((task, pool.submit(_work, task)))
            if len(waiting) >= 2 * job.workers:
                first, future = waiting.popleft()
                yield _step(first, future.result())
        for first, future in waiting:
            yield _step(first, future.result())


def _require_portable(job: Job) -> None:
    """Raise DataError when a plugin's function cannot be sent to another process."""
    try:
        pickle.dumps((job.readers, job.target, job.count_tokens))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        message = f"a reader, a target or a token counter cannot work in other processes ({error}). Use one worker."
        raise DataError(message) from None


def _step(task: _Task, batch: Batch) -> _Step:
    return _Step(task.recipe.file, task.block.size, batch)


def _work(task: _Task) -> Batch:
    return convert_batch(task.block.rows, task.recipe, lines=task.block.lines)


def _tasks(job: Job, collector: Collector) -> Iterator[_Task]:
    for number, source in enumerate(job.sources):
        try:
            yield from _tasks_of(job, number, source, collector)
        except DataError as error:
            if error.code is None:
                raise
            collector.add_error(number, error)


def _tasks_of(job: Job, number: int, source: Source, collector: Collector) -> Iterator[_Task]:
    """Yield a file's blocks, each with the recipe of the shape that its first rows have."""
    held_out = number >= len(job.train)
    recipe: Recipe | None = None
    for block in source.blocks():
        if recipe is None:
            reader = _reader(job, block)
            recipe = Recipe(
                reader or job.readers[0],
                job.readers,
                job.columns,
                file=number,
                splitter=None if held_out else job.splitter,
                held_out=held_out,
                target=job.target,
                count_tokens=job.count_tokens,
                max_tokens=job.max_tokens,
            )
            collector.formats[source.name] = recipe.reader.name
        yield _Task(block, recipe)
        if reader is None:
            recipe = None  # no row of this block could be read: the next one has to show the shape


def _reader(job: Job, block: Block) -> Reader | None:
    rows = sample(block.rows)
    if job.format is None and not rows:
        return None
    try:
        return choose([rename(row, job.columns) for row in rows], job.format, job.readers)
    except DataError as error:
        line = next((n for n, row in zip(block.lines, block.rows, strict=False) if row), 1)
        raise DataError(f"{error.message}.", line=line, code=error.code) from None
