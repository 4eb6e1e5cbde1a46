"""From canonical rows to a service's files: in its shape, within its limits, with a count of what each row loses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

import orjson

from tunebridge.data.batch import Side, convert_row
from tunebridge.data.dataset import Dataset, Split, owner_only
from tunebridge.data.places import file_and_line
from tunebridge.data.problems import Finding, Problem
from tunebridge.data.targets import Converted, Loss, Target
from tunebridge.errors import DataError
from tunebridge.spec import SpecModel

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAX_NAMED = 5

Policy = Literal["error", "warn", "allow"]
"""Value of `data.lossy`."""


class LossCount(SpecModel):
    """One kind of loss, and how many rows have it."""

    code: str
    message: str
    rows: int
    places: tuple[str, ...]
    """The first rows, as file:line."""


class RowsReport(SpecModel):
    """What became of the rows in a target's shape."""

    target: str
    """`backend/name` of the target."""
    rows: int
    exact: int
    """Rows that lost nothing."""
    lossy: tuple[LossCount, ...] = ()
    refused: tuple[LossCount, ...] = ()
    """Rows that the target cannot take; left out of the files where `data.lossy` is `allow`."""
    train_rows: int = 0
    """Rows that are sent to train on; more than there are where conversations are unrolled."""
    validation_rows: int = 0

    @property
    def refused_rows(self) -> int:
        """Rows that the target cannot take."""
        return sum(loss.rows for loss in self.refused)

    @property
    def lossy_rows(self) -> int:
        """Rows that lose something."""
        return self.rows - self.exact - self.refused_rows

    def problems(self, policy: Policy) -> list[Problem]:
        """Return the losses as problems, as `data.lossy` wants it; under `allow` they are only counted."""
        found = [_problem("E013", loss, self) for loss in self.refused if policy != "allow"]
        if policy != "allow":
            found += [_problem("E013" if policy == "error" else "W114", loss, self) for loss in self.lossy]
        return found


class LossCounter:
    """Counts what rows lose, in any number of rows."""

    def __init__(self, target: Target) -> None:
        self._target = f"{target.backend}/{target.name}"
        self._rows = self._exact = 0
        self._lossy: dict[str, _Seen] = {}
        self._refused: dict[str, _Seen] = {}

    def add(self, converted: Converted, place: str) -> None:
        """Count one row."""
        self._rows += 1
        if converted.refused is not None:
            _see(self._refused, converted.refused, place)
        elif not converted.losses:
            self._exact += 1
        else:
            for loss in {loss.code: loss for loss in converted.losses}.values():
                _see(self._lossy, loss, place)

    def add_exact(self, rows: int) -> None:
        """Count rows that lost nothing."""
        self._rows += rows
        self._exact += rows

    def report(self, *, train_rows: int, validation_rows: int) -> RowsReport:
        """Return the counts, with how many rows are sent."""
        lossy, refused = (tuple(_counted(*item) for item in seen.items()) for seen in (self._lossy, self._refused))
        return RowsReport(
            target=self._target,
            rows=self._rows,
            exact=self._exact,
            lossy=lossy,
            refused=refused,
            train_rows=train_rows,
            validation_rows=validation_rows,
        )


@dataclass
class _Seen:
    message: str
    rows: int = 0
    places: list[str] = field(default_factory=list)


def _see(seen: dict[str, _Seen], loss: Loss, place: str) -> None:
    known = seen.setdefault(loss.code, _Seen(loss.message))
    known.rows += 1
    if len(known.places) < MAX_NAMED:
        known.places.append(place)


def _counted(code: str, seen: _Seen) -> LossCount:
    return LossCount(code=code, message=seen.message, rows=seen.rows, places=tuple(seen.places))


def _problem(code: str, loss: LossCount, report: RowsReport) -> Problem:
    file, _, line = loss.places[0].rpartition(":")
    what = "cannot take" if code == "E013" and loss in report.refused else "can only take with a loss"
    message = f"{report.target} {what} {loss.rows:,} of {report.rows:,} rows ({loss.code}): {loss.message}"
    fix = "Change the rows, choose another backend, or accept it with data.lossy."
    return Finding(code, message, fix).at(file, int(line))


def count_losses(dataset: Dataset, target: Target) -> RowsReport:
    """Return what the rows lose in a target's shape, without writing them."""
    counter = LossCounter(target)
    sent = [0, 0]
    for side, split in enumerate(dataset.splits):
        for number, row in enumerate(split.rows()):
            converted = convert_row(row, target)
            if converted.refused is None and not converted.losses:
                counter.add_exact(1)
            else:
                counter.add(converted, place_name(split, number))
            sent[side] += len(converted.rows) if converted.refused is None else 0
    return counter.report(train_rows=sent[0], validation_rows=sent[1])


def place_name(split: Split, number: int) -> str:
    """Return where a row came from, as file:line."""
    place = split.place(number)
    return f"{place.file or 'row'}:{place.line}"


def check_limits(target: Target, *, train: "Extent", validation: "Extent | None") -> Iterator[Finding]:
    """Yield what a target's limits say against the number and size of rows.

    Where more files than one are taken, `max_rows` is that of a file.
    """
    limits = target.limits
    validation = validation or Extent()
    shares = limits.max_validation_share or 1.0
    counted: Sequence[tuple[str, int, int | float | None]] = (
        ("training rows", train.rows, None if target.may_split else limits.max_rows),
        ("validation rows", validation.rows, limits.max_validation_rows),
        ("bytes of validation rows", validation.size_bytes, limits.max_validation_bytes),
        ("validation rows", validation.rows, shares * train.rows if limits.max_validation_share else None),
    )
    for what, found, most in counted:
        if most is not None and found > most:
            yield Finding("E012", f"{found:,} {what}, at most {most:,.0f} are taken", "Take fewer.")
    if not train.rows:
        yield Finding("E010", "no training row is left", "Add rows that the backend can take.")
    if limits.min_rows is not None and train.rows < limits.min_rows:
        yield Finding("E012", f"{train.rows:,} training rows, at least {limits.min_rows:,} are needed", "Add rows.")


@dataclass
class Extent:
    """How much there is of one side, in the target's shape."""

    rows: int = 0
    size_bytes: int = 0


class ShardWriter:
    """Writes rows of a target's shape into as many files as its limits ask for, named only when all are complete."""

    def __init__(self, folder: Path, stem: str, target: Target) -> None:
        self._paths: list[Path] = []
        self._folder, self._stem, self._target = folder, stem, target
        self._file: IO[bytes] | None = None
        self._rows = self._bytes = 0

    def write(self, rows: Sequence[bytes]) -> None:
        """Write rows; DataError E012 where they do not fit and may not be split."""
        size = sum(map(len, rows)) + len(rows)
        if rows and self._file is not None and self._has_room(size, len(rows)):
            self._file.write(b"\n".join(rows) + b"\n")
            self._rows += len(rows)
            self._bytes += size
            return
        for row in rows:
            has_room = self._file is not None and self._has_room(len(row) + 1, 1)
            file = self._file if has_room and self._file is not None else self._next(len(row) + 1)
            file.write(row + b"\n")
            self._rows += 1
            self._bytes += len(row) + 1

    def close(self) -> list[Path]:
        """Give the files their names and return them: `train.jsonl`, or `train-1-of-3.jsonl` and so on."""
        if self._file is not None:
            self._file.close()
        count = len(self._paths)
        for number, path in enumerate(self._paths):
            part = f"-{number + 1}-of-{count}" if count > 1 else ""
            self._paths[number] = path.rename(self._folder / f"{self._stem}{part}{self._target.suffix}")
        return self._paths

    def discard(self) -> None:
        """Remove what was written."""
        if self._file is not None:
            self._file.close()
        for path in self._paths:
            path.unlink(missing_ok=True)

    def _has_room(self, size: int, rows: int) -> bool:
        limits = self._target.limits
        fits = limits.max_bytes is None or self._bytes + size <= limits.max_bytes
        return fits and (not self._target.may_split or limits.max_rows is None or self._rows + rows <= limits.max_rows)

    def _next(self, size: int) -> IO[bytes]:
        limits, mark = self._target.limits, BYTE_ORDER_MARK if self._target.byte_order_mark else b""
        if limits.max_bytes is not None and len(mark) + size > limits.max_bytes:
            message = f"one row is longer than a file of {limits.max_bytes:,} bytes. Shorten it."
            raise DataError(message, code="E012")
        if self._file is not None:
            self._file.close()
            if not self._target.may_split:
                message = f"the rows need more than one file of {limits.max_bytes:,} bytes. Take fewer rows."
                raise DataError(message, code="E012")
        path = self._folder / f".{self._stem}-{len(self._paths) + 1}.partial"
        self._file = open(path, "wb", opener=owner_only)  # noqa: SIM115  # closed by the next one, close or discard
        self._paths.append(path)
        self._rows, self._bytes = 0, self._file.write(mark)
        return self._file


def write_split(split: Split, target: Target, folder: Path, stem: str) -> list[Path]:
    """Write a split's rows in a target's shape and return the files; rows that the target refuses are left out.

    Whether rows may lose something was decided when the job was planned.
    """
    writer = ShardWriter(folder, stem, target)
    try:
        for row in split.rows():
            writer.write([orjson.dumps(each) for each in convert_row(row, target).rows])
        return writer.close()
    except BaseException:
        writer.discard()
        raise


class LossSink:
    """Takes the engine's rows that were converted on the way, and counts what they lose."""

    def __init__(self, target: Target, files: Sequence[str]) -> None:
        self._files, self._counter = files, LossCounter(target)
        self.train, self.validation = Extent(), Extent()

    def write(self, side: Side, *, held_out: bool) -> None:
        """Count the next rows of one side."""
        extent = self.validation if held_out else self.train
        extent.rows += sum(map(len, side.converted))
        extent.size_bytes += sum(len(row) + 1 for rows in side.converted for row in rows)
        self._counter.add_exact(len(side.rows) - len(side.inexact))
        for number, converted in side.inexact:
            file, line = file_and_line(side.places[number])
            self._counter.add(converted, f"{self._files[file]}:{line}")

    @property
    def report(self) -> RowsReport:
        """What the rows lost."""
        return self._counter.report(train_rows=self.train.rows, validation_rows=self.validation.rows)


class TargetSink(LossSink):
    """Counts the rows and writes them, both splits into one folder."""

    def __init__(self, folder: Path, target: Target, files: Sequence[str]) -> None:
        super().__init__(target, files)
        folder.mkdir(parents=True, exist_ok=True)
        self._writers = {held_out: ShardWriter(folder, _STEMS[held_out], target) for held_out in (False, True)}

    def write(self, side: Side, *, held_out: bool) -> None:
        """Count and write the next rows of one side."""
        super().write(side, held_out=held_out)
        self._writers[held_out].write([row for rows in side.converted for row in rows])

    def close(self) -> list[Path]:
        """Give all files their names and return them."""
        return [path for writer in self._writers.values() for path in writer.close()]

    def discard(self) -> None:
        """Remove what was written."""
        for writer in self._writers.values():
            writer.discard()


_STEMS = {False: "train", True: "validation"}
