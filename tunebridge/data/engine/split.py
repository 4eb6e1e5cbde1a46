"""Splitting rows by their content: the same row falls on the same side, whatever stands around it."""

import hashlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tunebridge.data.targets import CanonicalRow
from tunebridge.errors import DataError

MAX_EXACT = 10_000
"""Rows of a stratum whose share is exact; of more rows the share is right to within a few per cent by itself."""
MAX_STRATA = 1000


@dataclass(frozen=True)
class Splitter:
    """Decides which rows are held out.

    A hash of what is asked decides, so that rows that ask the same fall on the same side; with `group` a hash of the
    value of that key, so that rows of one group do. With `stratify` each value of that key is split on its own.
    """

    share: float
    seed: int = 0
    group: str | None = None
    stratify: str | None = None
    thresholds: Mapping[str, float] | None = None
    """Of each stratum, from a survey of all rows."""

    def __post_init__(self) -> None:
        if self.group is not None and self.stratify is not None:
            raise DataError("rows are split by group or by stratum, not by both. Set data.group or data.stratify.")

    @property
    def is_survey(self) -> bool:
        """Whether the strata have to be counted before anything is decided."""
        return self.stratify is not None and self.thresholds is None

    def is_held_out(self, row: CanonicalRow, asked: bytes) -> bool:
        """Whether a row is held out; `asked` is its prompt's digest. DataError when it lacks the key."""
        if self.is_survey:
            return False
        share = self.share if self.thresholds is None else self.thresholds[_value(row, str(self.stratify))]
        return self._position(row, asked) < share

    def survey(self, strata: dict[str, "array[float]"], row: CanonicalRow, asked: bytes) -> None:
        """Count a row to its stratum."""
        positions = strata.setdefault(_value(row, str(self.stratify)), array("d"))
        if len(positions) <= MAX_EXACT:
            positions.append(self._position(row, asked))

    def merge(self, strata: dict[str, "array[float]"], more: Mapping[str, "array[float]"]) -> None:
        """Add what was counted in further rows; DataError when there are too many strata."""
        for value, positions in more.items():
            known = strata.setdefault(value, array("d"))
            if len(known) <= MAX_EXACT:
                known.extend(positions)
        if len(strata) > MAX_STRATA:
            raise DataError(f"data.stratify has more than {MAX_STRATA:,} different values. Choose a key with fewer.")

    def decided(self, strata: Mapping[str, "array[float]"]) -> "Splitter":
        """Return the splitter that gives each stratum its share, at least one row of two."""
        thresholds = {value: self._threshold(positions) for value, positions in strata.items()}
        return Splitter(self.share, self.seed, self.group, self.stratify, thresholds)

    def _threshold(self, positions: "array[float]") -> float:
        if len(positions) > MAX_EXACT:
            return self.share
        rows = max(round(self.share * len(positions)), min(1, len(positions) - 1))
        ordered = [*sorted(positions), 1.0]
        return ordered[rows]

    def _position(self, row: CanonicalRow, asked: bytes) -> float:
        by = hashlib.sha256(_value(row, self.group).encode()).digest() if self.group is not None else asked
        digest = hashlib.sha256(by + self.seed.to_bytes(8, "big")).digest()
        return int.from_bytes(digest[:8], "big") / 2**64


def _value(row: CanonicalRow, key: str) -> str:
    """Return the value of a key, of the row's metadata or, dotted, of the row itself, as text."""
    value: Any = row.get("metadata", {}).get(key)
    if value is None:
        value = row
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        raise DataError(f"the row has no {key!r} to split by. Add it to the row or its metadata.", code="E003")
    return value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
