"""What is done with files of rows without a reading: check them, convert them, split them."""

import tempfile
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import orjson

from tunebridge.data.dataset import owner_only
from tunebridge.data.engine.batch import Batch
from tunebridge.data.engine.collect import Report
from tunebridge.data.engine.run import Progress, Reading, batches, run
from tunebridge.data.problems import Finding, Problem
from tunebridge.data.targets import Target
from tunebridge.data.writing.limits import check_limits
from tunebridge.data.writing.losses import Policy, RowsReport
from tunebridge.data.writing.sinks import LossSink, TargetSink
from tunebridge.data.writing.splits import raise_for, write_splits
from tunebridge.errors import DataError


@dataclass
class Checked:
    """What was found in files of rows."""

    report: Report
    target: RowsReport | None = None
    """What the rows would lose in a target's shape."""
    problems: list[Problem] = field(default_factory=list)
    """Everything that is wrong, with what a target says."""

    @property
    def errors(self) -> int:
        """Errors in all, those that are not listed too."""
        extra = self.problems[len(self.report.problems) :]
        return self.report.errors + sum(problem.severity == "error" for problem in extra)


def check(reading: Reading, *, rejected: Path | None = None, progress: Progress | None = None) -> Checked:
    """Return everything that is wrong with the files; broken rows are written to `rejected` where it is given.

    Each line of that file has the keys file, line, codes and row, the row as it stood there.
    """
    sink = LossSink(reading.target, [source.name for source in reading.sources]) if reading.target else None
    with ExitStack() as stack:
        write = None
        if rejected is not None:
            file = stack.enter_context(open(rejected, "wb", opener=owner_only))  # the stack closes it
            write = _Rejected(file).write
        report = run(reading, sink, rejected=write, progress=progress)
    if sink is None or reading.target is None:
        return Checked(report, problems=report.problems)
    found = sink.report.problems("warn")
    found += [f.at(None, None) for f in check_limits(reading.target, train=sink.train, validation=sink.validation)]
    return Checked(report, sink.report, [*report.problems, *found])


@dataclass
class _Rejected:
    file: IO[bytes]

    def write(self, name: str, batch: Batch) -> None:
        """Write the wrong rows of a batch."""
        for row in batch.rejected:
            text = row.row.decode(errors="replace")
            entry = {"file": name, "line": row.line, "codes": row.codes, "row": text}
            self.file.write(orjson.dumps(entry) + b"\n")


def check_features(report: Report, backend: str, *, kinds: Collection[str], features: Collection[str]) -> list[Problem]:
    """Return what a backend that takes canonical rows, of some kinds and with some features, says of them."""
    found = []
    for kind, rows in report.kinds.items():
        if kind not in kinds:
            fix = f"It takes {', '.join(sorted(kinds))}."
            found.append(Finding("E013", f"{backend} takes no rows of kind {kind} ({rows:,} rows)", fix))
    for feature, rows in report.features.items():
        if feature not in features:
            fix = "It will not be learnt; take it out of the rows, or choose another backend."
            found.append(Finding("W114", f"{backend} does not take {feature} ({rows:,} rows)", fix))
    return [finding.at(None, None) for finding in found]


@dataclass
class Converted:
    """What was written for a target."""

    files: list[Path]
    rows: RowsReport
    report: Report
    problems: list[Problem]


def convert(reading: Reading, folder: Path, *, lossy: Policy = "warn", progress: Progress | None = None) -> Converted:
    """Write rows in the target's shape and return the files; DataError where rows are wrong or refused.

    Nothing is left behind where it fails. Under `lossy="allow"` rows that the target cannot take are left out and
    counted.
    """
    assert reading.target is not None
    sink = TargetSink(folder, reading.target, [source.name for source in reading.sources])
    try:
        report = run(reading, sink, progress=progress)
        raise_for(report)
        found = sink.report.problems(lossy)
        limits = check_limits(reading.target, train=sink.train, validation=sink.validation)
        found += [finding.at(None, None) for finding in limits]
        raise_for(replace(report, problems=found, errors=sum(problem.severity == "error" for problem in found)))
        return Converted(sink.close(), sink.report, report, [*report.problems, *found])
    except BaseException:
        sink.discard()
        raise


def split(reading: Reading, folder: Path, *, progress: Progress | None = None) -> tuple[list[Path], Report]:
    """Write rows as `train.jsonl` and `validation.jsonl` in canonical form and return the files."""
    names = ("train.jsonl", "validation.jsonl")
    taken = [name for name in names if (folder / name).exists()]
    if taken:
        raise DataError(f"has {' and '.join(taken)} already. Choose another folder.", file=folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".splitting-", dir=folder) as partial:
        report, _ = write_splits(reading, Path(partial), progress=progress)
        return [(Path(partial) / name).rename(folder / name) for name in names], report


def kinds_of_first_rows(reading: Reading) -> set[str]:
    """Return the kinds of the first rows that are right, from which a target is chosen."""
    for batch in batches(replace(reading, target=None, workers=1, splitter=None)):
        if kinds := {*batch.train.kinds, *batch.held_out.kinds}:
            return kinds
    return set()


def choose_target(targets: Sequence[Target], name: str | None, kinds: set[str], backend: str) -> Target:
    """Return a backend's target by name, or the only one that takes rows of these kinds."""
    if name is not None:
        fitting = [target for target in targets if target.name == name]
    else:
        fitting = [target for target in targets if kinds <= target.kinds]
    if len(fitting) == 1:
        return fitting[0]
    known = ", ".join(f"{backend}/{target.name}" for target in fitting or targets)
    if not fitting and name is None:
        message = f"{backend} takes no rows of kind {', '.join(sorted(kinds)) or 'none'}. Its shapes are {known}."
    else:
        message = f"{backend}{'/' + name if name else ''} does not name one shape of row. Choose one of {known}."
    raise DataError(message)
