"""The facade's part for files of rows: check, convert, split, preview and count them, with or without a backend."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from tunebridge.data import files
from tunebridge.data.counting import counters
from tunebridge.data.counting.report import SplitTokens, count_rows
from tunebridge.data.engine.collect import Report
from tunebridge.data.engine.run import Progress, Reading, batches
from tunebridge.data.loading import reading_of
from tunebridge.data.places import file_and_line
from tunebridge.data.rendering.preview import Preview
from tunebridge.data.rendering.process import Renderer, preview_rows
from tunebridge.data.targets import LocatedRow
from tunebridge.errors import DataError, SpecError
from tunebridge.plugins import Plugins
from tunebridge.spec import DataSpec
from tunebridge.training.sources import locate


@dataclass(frozen=True)
class Options:
    """How files of rows are read."""

    workers: int = 1
    """Processes that read; the result is the same."""
    max_problems: int = 50
    """Errors that are listed; all are counted."""
    rejected: Path | None = None
    """File for the rows that are wrong."""
    model: str | None = None
    """Model for which tokens are counted; unset: nothing is said of rows that are too long."""
    max_tokens: int | None = None
    """Tokens of a row at most; unset: what the model or the backend's shape of row takes."""
    progress: Progress | None = None


class Rows:
    """What is done with files of rows; the plugins bring readers, shapes and backends."""

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins

    def check(self, data: DataSpec, *, target: str | None = None, options: Options | None = None) -> files.Checked:
        """Return everything that is wrong with files of rows; `target` is a backend, or `backend/shape`."""
        options = options or Options()
        reading = self._reading(data, options)
        backend, _, name = (target or "").partition("/")
        found = self._plugins.targets(backend) if target else []
        if found:
            chosen = files.choose_target(found, name or None, files.kinds_of_first_rows(reading), backend)
            reading = replace(reading, target=chosen, max_tokens=reading.max_tokens or chosen.limits.max_row_tokens)
        checked = files.check(reading, rejected=options.rejected, progress=options.progress)
        if target and not found:
            can = self._plugins.backend(backend).capabilities
            kinds, features = can.dataset_kinds, can.dataset_features
            checked.problems += files.check_features(checked.report, backend, kinds=kinds, features=features)
        return checked

    def convert(self, data: DataSpec, target: str, folder: Path, *, options: Options | None = None) -> files.Converted:
        """Write files of rows in a service's shape, within its limits; `target` is a backend, or `backend/shape`."""
        options = options or Options()
        reading = self._reading(data, options)
        backend, _, name = target.partition("/")
        known = self._plugins.targets(backend)
        if not known:
            have = ", ".join(sorted({f"{t.backend}/{t.name}" for t in self._plugins.targets()})) or "none"
            raise DataError(f"{backend!r} has no shape of row of its own. Choose one of: {have}.")
        chosen = files.choose_target(known, name or None, files.kinds_of_first_rows(reading), backend)
        return files.convert(replace(reading, target=chosen), folder, lossy=data.lossy, progress=options.progress)

    def split(
        self, data: DataSpec, folder: Path, *, seed: int = 0, options: Options | None = None
    ) -> tuple[Sequence[Path], Report]:
        """Write files of rows as training and held-out rows in canonical form."""
        options = options or Options()
        return files.split(self._reading(data, options, seed=seed), folder, progress=options.progress)

    def preview(
        self,
        path: Path,
        model: str,
        *,
        shown: int = 3,
        checked: int = 1000,
        max_length: int | None = None,
        format: str | None = None,
    ) -> Preview:
        """Return a file's first rows as the model sees them, and what is odd about the first `checked` rows.

        `model` is a folder, a hub id or `tunebridge/nano`; SpecError when its chat template cannot be had.
        """
        if counters.encoding_name(model):
            raise SpecError(
                f"The service does not publish the chat template of {model}, so nobody can show what it sees. "
                f"Count its tokens with `tunebridge data tokens`."
            )
        most = max_length or locate(model).default_max_length
        with Renderer(model) as renderer:
            rows = self._canonical(path, format)
            return preview_rows(renderer, rows, file=str(path), max_length=most, shown=shown, checked=checked)

    def count_tokens(
        self, path: Path, model: str, max_length: int | None = None, *, format: str | None = None
    ) -> Sequence[SplitTokens]:
        """Return the tokens of a file's rows for a model, by split; exact where its tokenizer is at hand."""
        rows = self._canonical(path, format)
        return count_rows(rows, counters.counter_for(model), file=str(path), max_length=max_length)

    def max_row_tokens(self, model: str, *, backend: str | None = None) -> int | None:
        """Return the most tokens per row that a backend, or a model at hand, takes; None where it is not known."""
        if counters.is_at_hand(model):
            return locate(model).default_max_length
        limits = [target.limits.max_row_tokens for target in self._plugins.targets(backend)] if backend else []
        return min((limit for limit in limits if limit is not None), default=None)

    def _canonical(self, path: Path, format: str | None) -> Iterator[LocatedRow]:
        """Yield a file's good rows one after the other; `check` tells of the others."""
        for batch in batches(self._reading(DataSpec(train=str(path), format=format), Options())):
            for row, place in zip(batch.train.rows, batch.train.places, strict=True):
                yield LocatedRow(file_and_line(place)[1], orjson.loads(row))

    def _reading(self, data: DataSpec, options: Options, *, seed: int = 0) -> Reading:
        reading = reading_of(data, seed=seed, readers=self._plugins.readers())
        counter = counters.counter_for(options.model) if options.model else None
        return replace(
            reading,
            workers=options.workers,
            max_problems=options.max_problems,
            count_tokens=None if counter is None else lambda row: counter.count_row(row).likely,
            max_tokens=options.max_tokens or (self.max_row_tokens(options.model) if options.model else None),
        )
