"""Finding rows again among any number of rows, in bounded memory: duplicates, leakage, different answers.

Digests of 64 bits stand for the rows (one false alarm is to be expected once in 2^64 pairs). They are kept in one
array while there are few; beyond that they go to partitions on disk by their first bits, of which one at a time is
looked at.
"""

import tempfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import IO

from tunebridge.data.places import HELD_OUT

WIDTH = 3
MAX_IN_MEMORY = 250_000
"""Records; one is 24 bytes, and about 200 while it is looked at."""
PARTITION_BITS = 6
MAX_NAMED = 5


@dataclass
class Sightings:
    """How many rows something is true of, and the places of the first ones."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, places: list[int]) -> None:
        """Count some more."""
        self.count += len(places)
        self.first = nsmallest(MAX_NAMED, [*self.first, *places])


class DigestIndex:
    """Records (key, value, place) of every row."""

    def __init__(self, shift: int = 64 - PARTITION_BITS) -> None:
        self._records = array("Q")
        self._shift = shift
        self._partitions: list[IO[bytes]] = []

    def add(self, keys: "array[int]", values: "array[int]", places: "array[int]") -> None:
        """Keep records."""
        records = array("Q", bytes(8 * WIDTH * len(keys)))
        records[0::WIDTH], records[1::WIDTH], records[2::WIDTH] = keys, values, places
        self._extend(records)

    def _extend(self, records: "array[int]") -> None:
        self._records.extend(records)
        if len(self._records) > MAX_IN_MEMORY * WIDTH:
            self._spill()

    def buckets(self) -> Iterator["array[int]"]:
        """Yield the records in arrays of bounded size; all records of a key are in the same one."""
        if not self._partitions:
            yield self._records
            return
        self._spill()
        for file in self._partitions:
            yield from self._bucket(file)
            file.close()
        self._partitions = []

    def _bucket(self, file: IO[bytes]) -> Iterator["array[int]"]:
        records = file.tell() // (8 * WIDTH)
        file.seek(0)
        if records <= MAX_IN_MEMORY or self._shift < PARTITION_BITS:
            found = array("Q")
            found.frombytes(file.read())
            yield found
            return
        finer = DigestIndex(self._shift - PARTITION_BITS)
        while chunk := file.read(8 * WIDTH * 10_000):
            records_of_chunk = array("Q")
            records_of_chunk.frombytes(chunk)
            finer._extend(records_of_chunk)
        yield from finer.buckets()

    def _spill(self) -> None:
        if not self._partitions:
            self._partitions = [tempfile.TemporaryFile() for _ in range(1 << PARTITION_BITS)]  # noqa: SIM115  # closed once read
        parts = [array("Q") for _ in self._partitions]
        records, mask = self._records, (1 << PARTITION_BITS) - 1
        for start in range(0, len(records), WIDTH):
            parts[records[start] >> self._shift & mask].extend(records[start : start + WIDTH])
        for file, part in zip(self._partitions, parts, strict=True):
            file.write(part)
        self._records = array("Q")


@dataclass
class Repeats:
    """Rows that were seen before."""

    exact: Sightings = field(default_factory=Sightings)
    near: Sightings = field(default_factory=Sightings)


def find_repeats(index: DigestIndex) -> Repeats:
    """Return rows that are as one before them: exactly (same value), or nearly (same key only)."""
    found = Repeats()
    for bucket in index.buckets():
        exact: list[int] = []
        near: list[int] = []
        for group in _groups(bucket):
            seen: dict[int, set[int]] = {0: set(), HELD_OUT: set()}  # a row on both sides is a leak, not a repeat
            for value, place in sorted(group, key=lambda record: record[1]):
                known = seen[place & HELD_OUT]
                if known:
                    (exact if value in known else near).append(place)
                known.add(value)
        found.exact.add(exact)
        found.near.add(near)
    return found


@dataclass
class Answers:
    """What rows that ask the same do."""

    differ: Sightings = field(default_factory=Sightings)
    """Rows that ask the same and are answered differently."""
    leak: Sightings = field(default_factory=Sightings)
    """Held-out rows that ask what a training row asks."""


def find_answers(index: DigestIndex) -> Answers:
    """Return rows that ask the same (same key) and are answered differently, or stand on both sides."""
    found = Answers()
    for bucket in index.buckets():
        differ: list[int] = []
        leak: list[int] = []
        for group in _groups(bucket):
            if len({value for value, _ in group} - {0}) > 1:
                differ += [place & ~HELD_OUT for value, place in group if value]
            held_out = [place & ~HELD_OUT for _, place in group if place & HELD_OUT]
            if len(held_out) < len(group):
                leak += held_out
        found.differ.add(differ)
        found.leak.add(leak)
    return found


def _groups(bucket: "array[int]") -> Iterator[list[tuple[int, int]]]:
    """Yield (value, place) of the records of each key that stands there more than once."""
    keys = bucket[::WIDTH]
    if len(set(keys)) == len(keys):
        return
    seen: set[int] = set()
    repeated = {key for key in keys if key in seen or seen.add(key)}  # type: ignore[func-returns-value]
    groups: dict[int, list[tuple[int, int]]] = {key: [] for key in repeated}
    for number, key in enumerate(keys):
        if key in repeated:
            groups[key].append((bucket[number * WIDTH + 1], bucket[number * WIDTH + 2]))
    yield from groups.values()
