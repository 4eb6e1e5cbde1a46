"""Rows as a value: a Split knows its rows and their fingerprint, a Dataset its splits."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import orjson

from tunebridge.data.checks import Problem
from tunebridge.data.example import Example, Kind
from tunebridge.errors import DataError


def canonical(example: Example) -> bytes:
    """Return a row's canonical bytes: JSON with sorted keys, UTF-8, without spaces."""
    return orjson.dumps(example.to_json(), option=orjson.OPT_SORT_KEYS)


@dataclass(frozen=True)
class Split:
    """The rows of one split, in order."""

    examples: tuple[Example, ...]
    lines: tuple[int, ...] = field(default=(), compare=False)
    """Line of `source` that each row came from; empty where it came from no file."""
    source: str | None = field(default=None, compare=False)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    def __len__(self) -> int:
        return len(self.examples)

    @cached_property
    def fingerprint(self) -> str:
        """`sha256:` and the digest over the canonical rows, one line each, in order."""
        digest = hashlib.sha256()
        for example in self.examples:
            digest.update(canonical(example) + b"\n")
        return f"sha256:{digest.hexdigest()}"

    @classmethod
    def read(cls, path: Path) -> "Split":
        """Read canonical rows, as written by `write`."""
        lines = path.read_bytes().split(b"\n")
        return cls(tuple(Example.model_validate_json(line) for line in lines if line))

    def write(self, path: Path) -> None:
        """Write the canonical rows as JSONL, readable by the owner only."""
        with open(path, "wb", opener=_owner_only) as file:
            file.writelines(canonical(example) + b"\n" for example in self.examples)


@dataclass(frozen=True)
class Dataset:
    """The training rows and, where there are any, the held-out rows."""

    train: Split
    validation: Split | None = None
    problems: tuple[Problem, ...] = field(default=(), compare=False)
    """Warnings about the rows; they do not count in the fingerprint."""

    @cached_property
    def kind(self) -> Kind:
        """Return the one kind that all rows have; DataError E011 where they differ."""
        kinds = {example.kind for example in self.train} | {example.kind for example in self.validation or ()}
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


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
