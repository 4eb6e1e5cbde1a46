"""Where the engine's rows go in canonical form: a file for each split, with the place of each row."""

import hashlib
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from tunebridge.data.dataset import SplitSummary, owner_only
from tunebridge.data.engine.batch import Side
from tunebridge.data.engine.collect import Report
from tunebridge.data.engine.run import Progress, Reading, run
from tunebridge.data.problems import Problem
from tunebridge.errors import DataError
from tunebridge.spec import SpecModel

MAX_PROBLEMS_SHOWN = 10


class Record(SpecModel):
    """`dataset.json` of a folder."""

    files: tuple[str, ...]
    train: SplitSummary
    validation: SplitSummary | None = None
    problems: tuple[Problem, ...] = ()
    formats: dict[str, str] = {}
    metadata_keys: dict[str, int] = {}


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
