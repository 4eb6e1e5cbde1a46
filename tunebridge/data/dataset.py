"""Rows as a value: a Split knows its rows and their fingerprint, a Dataset its splits."""

import hashlib
import os
import shutil
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import orjson

from tunebridge.data.canonical import canonical_bytes, canonical_row, features_of, kind_of
from tunebridge.data.example import Example, Feature, Kind
from tunebridge.data.places import file_and_line
from tunebridge.data.problems import Problem
from tunebridge.data.targets import CanonicalRow
from tunebridge.errors import DataError
from tunebridge.spec import SpecModel


def canonical(example: Example) -> bytes:
    """Return a row's canonical bytes: JSON with sorted keys, UTF-8, without spaces."""
    return canonical_bytes(example.to_json())


class SplitSummary(SpecModel):
    """What is known of a split without reading it again."""

    rows: int
    fingerprint: str
    """`sha256:` and the digest over the canonical rows, one line each, in order."""
    size_bytes: int
    """Bytes of the canonical rows with their line ends."""
    kinds: dict[Kind, int]
    """Rows of each kind."""
    features: dict[Feature, int]
    """Rows that have each part that not every backend can take."""


class Place(NamedTuple):
    """Where a row came from."""

    file: str | None
    line: int
    """Counted from 1; where there is no file, the row's number."""


class Split:
    """The rows of one split, in order, in memory; StoredSplit is the same over a file."""

    def __init__(self, examples: Iterable[Example] = ()) -> None:
        self._examples = tuple(examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self._examples)

    def __len__(self) -> int:
        return len(self._examples)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Split) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} rows, {self.fingerprint[:15]}...)"

    @property
    def examples(self) -> tuple[Example, ...]:
        """Every row at once; iterate where there may be many."""
        return tuple(self)

    def rows(self) -> Iterator[CanonicalRow]:
        """Yield the rows as plain JSON values."""
        for example in self._examples:
            yield example.to_json()

    def place(self, number: int) -> Place:
        """Return where a row, counted from 0, came from."""
        return Place(None, number + 1)

    @cached_property
    def summary(self) -> SplitSummary:
        """What is known of the split as a whole."""
        return summarise_rows(self.rows())

    @property
    def fingerprint(self) -> str:
        """`sha256:` and the digest over the canonical rows, one line each, in order."""
        return self.summary.fingerprint

    @property
    def kinds(self) -> Mapping[Kind, int]:
        """Rows of each kind."""
        return self.summary.kinds

    @property
    def features(self) -> Mapping[Feature, int]:
        """Rows that have each part that not every backend can take."""
        return self.summary.features

    @classmethod
    def read(cls, path: Path) -> "StoredSplit":
        """Return the canonical rows of a file, as written by `write`; ValueError when one is broken.

        The rows stay in the file, which must not change meanwhile.
        """
        return StoredSplit(path, summarise_rows(_checked(path)))

    def write(self, path: Path) -> None:
        """Write the canonical rows as JSONL, readable by the owner only."""
        with open(path, "wb", opener=owner_only) as file:
            file.writelines(canonical_bytes(row) + b"\n" for row in self.rows())


class StoredSplit(Split):
    """Canonical rows in a file, read one after the other each time."""

    def __init__(
        self, path: Path, summary: SplitSummary, *, places: Path | None = None, files: tuple[str, ...] = ()
    ) -> None:
        self.path, self._places, self._files = path, places, files
        self.summary = summary

    def __iter__(self) -> Iterator[Example]:
        return (Example.model_validate_json(line) for line in self.lines())

    def __len__(self) -> int:
        return self.summary.rows

    def lines(self) -> Iterator[bytes]:
        """Yield each row's canonical bytes, without the line's end."""
        with self.path.open("rb") as file:
            for line in file:
                yield line.rstrip(b"\n")

    def rows(self) -> Iterator[CanonicalRow]:
        """Yield the rows as plain JSON values."""
        return (orjson.loads(line) for line in self.lines())

    def place(self, number: int) -> Place:
        """Return the file and line that a row, counted from 0, came from."""
        if self._places is None:
            return Place(str(self.path), number + 1)
        found = array("Q")
        with self._places.open("rb") as file:
            file.seek(number * found.itemsize)
            found.frombytes(file.read(found.itemsize))
        number, line = file_and_line(found[0])
        return Place(self._files[number], line)

    def write(self, path: Path) -> None:
        """Give the file another name where the disk allows it, copy it otherwise; readable by the owner only."""
        try:
            os.link(self.path, path)
        except OSError:
            with self.path.open("rb") as source, open(path, "wb", opener=owner_only) as file:
                shutil.copyfileobj(source, file)


class Dataset:
    """The training rows and, where there are any, the held-out rows."""

    def __init__(self, train: Split, validation: Split | None = None, problems: Iterable[Problem] = ()) -> None:
        self.train, self.validation = train, validation
        self.problems = tuple(problems)
        """Warnings about the rows; they do not count in the fingerprint."""

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that there are, the training rows first."""
        return (self.train,) if self.validation is None else (self.train, self.validation)

    @cached_property
    def kind(self) -> Kind:
        """Return the one kind that all rows have; DataError E011 where they differ."""
        kinds = {kind for split in self.splits for kind in split.kinds}
        if len(kinds) != 1:
            raise DataError(
                f"the rows are of several kinds ({', '.join(sorted(kinds))}). Keep one kind per job.", code="E011"
            )
        return kinds.pop()

    @cached_property
    def fingerprint(self) -> str:
        """`sha256:` and the digest over the splits' fingerprints; the same rows in the same order give it again."""
        parts = (self.train.fingerprint, self.validation.fingerprint if self.validation else "")
        return "sha256:" + hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def features(self) -> Mapping[Feature, int]:
        """Rows of all splits that have each part that not every backend can take."""
        return sum((Counter(split.features) for split in self.splits), Counter())


def summarise_rows(rows: Iterable[CanonicalRow]) -> SplitSummary:
    """Return what is known of rows after reading them once."""
    digest, count, size = hashlib.sha256(), 0, 0
    kinds: Counter[Kind] = Counter()
    features: Counter[Feature] = Counter()
    for row in rows:
        line = canonical_bytes(row) + b"\n"
        digest.update(line)
        count, size = count + 1, size + len(line)
        kinds[kind_of(row)] += 1
        features.update(features_of(row))
    return SplitSummary(
        rows=count,
        fingerprint=f"sha256:{digest.hexdigest()}",
        size_bytes=size,
        kinds=dict(kinds),
        features=dict(features),
    )


def _checked(path: Path) -> Iterator[CanonicalRow]:
    with path.open("rb") as file:
        for line in file:
            row = orjson.loads(line)
            yield canonical_row(row) or Example.model_validate(row).to_json()


def owner_only(path: str, flags: int) -> int:
    """Open a file that only its owner may read, as an `opener` of `open`."""
    return os.open(path, flags, 0o600)
