"""What becomes of some rows, as values: how they are read, and the batch that comes out."""

from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tunebridge.data.checking.digests import Digests
from tunebridge.data.engine.split import Splitter
from tunebridge.data.problems import Finding
from tunebridge.data.reading.readers import READERS, Reader
from tunebridge.data.targets import CanonicalRow, Converted, Target

MAX_CLASSES = 100
"""Different short answers that are counted."""


@dataclass(frozen=True)
class Recipe:
    """How raw rows become canonical rows, and what else is wanted of them; the same for every row of a file."""

    reader: Reader
    readers: tuple[Reader, ...] = READERS
    columns: Mapping[str, str] = field(default_factory=dict)
    file: int = 0
    """Number of the file, kept in each row's place."""
    splitter: Splitter | None = None
    """Decides which rows are held out; unset: none, or all (`held_out`)."""
    held_out: bool = False
    target: Target | None = None
    """Shape to convert the rows to."""
    count_tokens: Callable[[CanonicalRow], int] | None = None
    max_tokens: int | None = None


class TooLong(NamedTuple):
    """A row that is longer than the limit."""

    line: int
    tokens: int
    is_answer_lost: bool
    """Whether nothing of its last answer is left when it is cut."""


class Rejected(NamedTuple):
    """A row that is wrong."""

    line: int
    row: bytes
    codes: tuple[str, ...]


@dataclass
class Side:
    """The good rows of a batch that are trained on, or those that are held out."""

    rows: list[bytes] = field(default_factory=list)
    """Canonical rows, without line ends."""
    places: "array[int]" = field(default_factory=lambda: array("Q"))
    """Where each row came from, see `file_and_line`."""
    digests: Digests = field(default_factory=lambda: Digests(*(array("Q") for _ in Digests._fields)))
    kinds: Counter[str] = field(default_factory=Counter)
    features: Counter[str] = field(default_factory=Counter)
    converted: list[tuple[bytes, ...]] = field(default_factory=list)
    """Each row in the target's shape, as one row or several; none where it was refused."""
    inexact: list[tuple[int, Converted]] = field(default_factory=list)
    """(number in `rows`, conversion) of rows that lose something in the target or are refused; without its rows."""


@dataclass
class Batch:
    """What became of some rows."""

    train: Side = field(default_factory=Side)
    held_out: Side = field(default_factory=Side)
    findings: list[tuple[int, Finding]] = field(default_factory=list)
    """(line, what is wrong), in order of the lines."""
    rejected: list[Rejected] = field(default_factory=list)
    first_lines: dict[str, int] = field(default_factory=dict)
    """Kind -> line of its first row."""
    metadata_keys: Counter[str] = field(default_factory=Counter)
    """Keys that the shape does not know and that were kept as metadata."""
    short_answers: Counter[bytes] = field(default_factory=Counter)
    """Of answers that may be a class's name."""
    long_answers: int = 0
    too_long: list[TooLong] = field(default_factory=list)
    strata: dict[str, "array[float]"] = field(default_factory=dict)
    """Of a survey: the positions of each stratum's rows."""
    blank: int = 0
