"""The one pass over files of any size: blocks of rows become batches, here or in several processes, merged in order."""

import multiprocessing
import pickle
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from tunebridge.data.engine.batch import Batch, Recipe, Side, convert_batch
from tunebridge.data.engine.collect import Collector, Report
from tunebridge.data.engine.split import Splitter
from tunebridge.data.reading.blocks import Block
from tunebridge.data.reading.decode import sample
from tunebridge.data.reading.readers import READERS, Reader, choose, rename
from tunebridge.data.reading.sources import Source, find
from tunebridge.data.targets import CanonicalRow, Target
from tunebridge.errors import DataError

Progress = Callable[[int, int | None], None]
"""Called with bytes read and bytes in all, None where they are not known."""


class Sink(Protocol):
    """Takes the good rows, in order."""

    def write(self, side: Side, *, held_out: bool) -> None:
        """Take the next rows of one side."""


@dataclass(frozen=True)
class Reading:
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
    reading: Reading,
    sink: Sink | None = None,
    *,
    rejected: Callable[[str, Batch], None] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Read every row once and return what was found; good rows go to the sink, wrong ones to `rejected`."""
    if reading.splitter is not None and reading.splitter.is_survey:
        reading = replace(reading, splitter=_surveyed(reading, reading.splitter))
    collector = _collector(reading)
    done, size = 0, reading.size
    for step in _steps(reading, collector):
        collector.add(step.file, step.batch)
        if sink is not None:
            sink.write(step.batch.train, held_out=False)
            sink.write(step.batch.held_out, held_out=True)
        if rejected is not None and step.batch.rejected:
            rejected(reading.sources[step.file].name, step.batch)
        done += step.size
        if progress is not None:
            progress(done, size)
    return collector.report(max_tokens=reading.max_tokens)


def batches(reading: Reading) -> Iterator[Batch]:
    """Yield what becomes of the rows, block by block, without looking among them."""
    return (step.batch for step in _steps(reading, _collector(reading)))


def _collector(reading: Reading) -> Collector:
    return Collector([source.name for source in reading.sources], max_problems=reading.max_problems)


class _Step(NamedTuple):
    file: int
    size: int
    batch: Batch


class _Task(NamedTuple):
    block: Block
    recipe: Recipe


def _surveyed(reading: Reading, splitter: Splitter) -> Splitter:
    """Read the rows once to count the strata; what is wrong with them is said when they are read again."""
    strata: dict[str, array[float]] = {}
    for batch in batches(replace(reading, target=None, count_tokens=None)):
        splitter.merge(strata, batch.strata)
    return splitter.decided(strata)


def _steps(reading: Reading, collector: Collector) -> Iterator[_Step]:
    tasks = _tasks(reading, collector)
    if reading.workers <= 1:
        for task in tasks:
            yield _step(task, _work(task))
        return
    _require_portable(reading)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(reading.workers, mp_context=context) as pool:
        waiting: deque[tuple[_Task, Future[Batch]]] = deque()
        for task in tasks:
            waiting.append((task, pool.submit(_work, task)))
            if len(waiting) >= 2 * reading.workers:
                first, future = waiting.popleft()
                yield _step(first, future.result())
        for first, future in waiting:
            yield _step(first, future.result())


def _require_portable(reading: Reading) -> None:
    """Raise DataError when a plugin's function cannot be sent to another process."""
    try:
        pickle.dumps((reading.readers, reading.target, reading.count_tokens))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        message = f"a reader, a target or a token counter cannot work in other processes ({error}). Use one worker."
        raise DataError(message) from None


def _step(task: _Task, batch: Batch) -> _Step:
    return _Step(task.recipe.file, task.block.size, batch)


def _work(task: _Task) -> Batch:
    return convert_batch(task.block.rows, task.recipe, lines=task.block.lines)


def _tasks(reading: Reading, collector: Collector) -> Iterator[_Task]:
    for number, source in enumerate(reading.sources):
        try:
            yield from _tasks_of(reading, number, source, collector)
        except DataError as error:
            if error.code is None:
                raise
            collector.add_error(number, error)


def _tasks_of(reading: Reading, number: int, source: Source, collector: Collector) -> Iterator[_Task]:
    """Yield a file's blocks, each with the recipe of the shape that its first rows have."""
    held_out = number >= len(reading.train)
    recipe: Recipe | None = None
    for block in source.blocks():
        if recipe is None:
            reader = _reader(reading, block)
            recipe = Recipe(
                reader or reading.readers[0],
                reading.readers,
                reading.columns,
                file=number,
                splitter=None if held_out else reading.splitter,
                held_out=held_out,
                target=reading.target,
                count_tokens=reading.count_tokens,
                max_tokens=reading.max_tokens,
            )
            if reader is not None:
                collector.formats[source.name] = reader.name
        yield _Task(block, recipe)
        if reader is None:
            recipe = None  # no row of this block could be read: the next one has to show the shape


def _reader(reading: Reading, block: Block) -> Reader | None:
    rows = sample(block.rows)
    if reading.format is None and not rows:
        return None
    try:
        return choose([rename(row, reading.columns) for row in rows], reading.format, reading.readers)
    except DataError as error:
        line = next((n for n, row in zip(block.lines, block.rows, strict=False) if row), 1)
        raise DataError(f"{error.message}.", line=line, code=error.code) from None
