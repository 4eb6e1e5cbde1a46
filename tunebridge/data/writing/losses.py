"""What each row loses in a target's shape, counted and told."""

from dataclasses import dataclass, field
from typing import Literal

from tunebridge.data.dataset import Dataset, Split
from tunebridge.data.problems import Finding, Problem
from tunebridge.data.targets import Converted, Loss, Target, convert_row
from tunebridge.spec import SpecModel

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
