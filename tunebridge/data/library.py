"""Canonical rows on disk, made once for the same files and the same way to read them.

A folder `data/KEY` holds `train.jsonl`, where there are any `validation.jsonl`, beside each the places that its rows
came from, and `dataset.json`. KEY is the digest of the files' bytes and of all that decides what becomes of them,
this package's code too. A folder appears complete, under its name, in one step; two processes that make the same one
make the same bytes, and the second throws its own away. Nobody holds on to a folder beyond planning and staging,
because a job gets the rows under a name of its own, so a folder that was not used for some time is removed by
whoever adds another.
"""

import hashlib
import os
import shutil
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

import orjson

from tunebridge.data.batch import Side
from tunebridge.data.collect import Report
from tunebridge.data.dataset import Dataset, SplitSummary, StoredSplit, owner_only
from tunebridge.data.engine import Progress, Reading, run
from tunebridge.data.problems import Problem
from tunebridge.errors import DataError, StoreError
from tunebridge.spec import SpecModel

MAX_PROBLEMS_SHOWN = 10
UNUSED_SECONDS = 7 * 24 * 3600.0
RECORD = "dataset.json"


class Record(SpecModel):
    """`dataset.json` of a folder."""

    files: tuple[str, ...]
    train: SplitSummary
    validation: SplitSummary | None = None
    problems: tuple[Problem, ...] = ()
    formats: dict[str, str] = {}
    metadata_keys: dict[str, int] = {}


class Library:
    """Datasets in canonical form below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, reading: Reading, *, progress: Progress | None = None) -> Dataset:
        """Return the rows, made or found; DataError names the first problems where rows are wrong."""
        key = key_of(reading)
        folder = self.folder / key
        if not (folder / RECORD).exists():
            self._make(reading, folder, progress)
            self._remove_unused()
        os.utime(folder)
        return _open(folder)

    def _make(self, reading: Reading, folder: Path, progress: Progress | None) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=".making-", dir=self.folder))
            try:
                _write(reading, partial, progress)
                _give_name(partial, folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        except OSError as error:
            raise StoreError(f"The rows could not be written to {self.folder}: {error}. Free some space.") from error

    def _remove_unused(self) -> None:
        for folder in self.folder.iterdir():
            with suppress(FileNotFoundError):  # another process removes it too
                if time.time() - folder.stat().st_mtime > UNUSED_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)


def key_of(reading: Reading) -> str:
    """Return the digest of the files' bytes and of all that decides what becomes of them."""
    parts: list[Any] = [_code_digest(), len(reading.train), [(s.name, s.suffix, s.digest()) for s in reading.sources]]
    parts += [
        reading.format,
        sorted(reading.columns.items()),
        [f"{r.name} {r.convert.__module__}" for r in reading.readers],
    ]
    splitter = reading.splitter
    parts += [splitter and [splitter.share, splitter.seed, splitter.group, splitter.stratify]]
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32]


@cache
def _code_digest() -> str:
    """Return the digest of the code that makes the rows, so that no folder outlives a change of it."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class SplitWriter:
    """Writes one split's canonical rows, with the place of each, and sums them up."""

    def __init__(self, rows: IO[bytes], places: IO[bytes]) -> None:
        self._rows, self._places = rows, places
        self._digest = hashlib.sha256()
        self._count = self._size = 0
        self._kinds: Counter[str] = Counter()
        self._features: Counter[str] = Counter()

    def write(self, side: Side) -> None:
        """Write the next rows."""
        if not side.rows:
            return
        text = b"\n".join(side.rows) + b"\n"
        self._rows.write(text)
        self._digest.update(text)
        self._places.write(side.places)
        self._count += len(side.rows)
        self._size += len(text)
        self._kinds.update(side.kinds)
        self._features.update(side.features)

    @property
    def summary(self) -> SplitSummary:
        """What was written."""
        return SplitSummary.model_validate(
            {
                "rows": self._count,
                "fingerprint": f"sha256:{self._digest.hexdigest()}",
                "size_bytes": self._size,
                "kinds": dict(self._kinds),
                "features": dict(self._features),
            }
        )


class SplitsSink:
    """Writes both splits into a folder."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.train, self.validation = (
            SplitWriter(
                stack.enter_context(_written(folder / f"{name}.jsonl")),
                stack.enter_context(_written(folder / f"{name}.places")),
            )
            for name in ("train", "validation")
        )

    def write(self, side: Side, *, held_out: bool) -> None:
        """Write the next rows of one side."""
        (self.validation if held_out else self.train).write(side)


def _written(path: Path) -> IO[bytes]:
    return open(path, "wb", opener=owner_only)


def write_splits(reading: Reading, folder: Path, *, progress: Progress | None = None) -> tuple[Report, Record]:
    """Write the good rows of both splits into a folder; DataError where a row is wrong or a side is empty."""
    with ExitStack() as stack:
        sink = SplitsSink(folder, stack)
        report = run(reading, sink, progress=progress)
    raise_for(report)
    record = Record(
        files=tuple(source.name for source in reading.sources),
        train=sink.train.summary,
        validation=sink.validation.summary if sink.validation.summary.rows else None,
        problems=tuple(report.problems),
        formats=report.formats,
        metadata_keys=report.metadata_keys,
    )
    if reading.splitter is not None and (record.validation is None or not record.train.rows):
        raise DataError(
            f"{report.rows} rows are too few to hold out {reading.splitter.share:.0%} of them. Add rows, or set "
            f"data.validation to a file."
        )
    return report, record


def raise_for(report: Report) -> None:
    """Raise DataError with the first problems of a report that has errors."""
    if not report.errors:
        return
    errors = [problem for problem in report.problems if problem.severity == "error"][:MAX_PROBLEMS_SHOWN]
    shown = "\n".join(str(problem) for problem in errors)
    rest = report.errors - len(errors)
    more = f"\n... and {rest:,} more" if rest > 0 else ""
    raise DataError(f"{report.errors:,} problem{'s' if report.errors > 1 else ''} in the data:\n{shown}{more}")


def _write(reading: Reading, folder: Path, progress: Progress | None) -> None:
    _, record = write_splits(reading, folder, progress=progress)
    if record.validation is None:
        for name in ("validation.jsonl", "validation.places"):
            (folder / name).unlink()
    with open(folder / RECORD, "wb", opener=owner_only) as file:
        file.write(record.model_dump_json().encode())


def _give_name(partial: Path, folder: Path) -> None:
    """Let a folder appear under its name; another process may have made the same one meanwhile."""
    try:
        partial.rename(folder)
    except OSError:
        if not (folder / RECORD).exists():
            raise


def _open(folder: Path) -> Dataset:
    record = Record.model_validate_json((folder / RECORD).read_bytes())
    splits = [
        StoredSplit(folder / f"{name}.jsonl", summary, places=folder / f"{name}.places", files=record.files)
        for name, summary in (("train", record.train), ("validation", record.validation))
        if summary is not None
    ]
    return Dataset(splits[0], splits[1] if len(splits) > 1 else None, record.problems)
