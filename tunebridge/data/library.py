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
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from tunebridge.data.dataset import Dataset, StoredSplit, owner_only
from tunebridge.data.engine.run import Progress, Reading
from tunebridge.data.writing.splits import Record, write_splits
from tunebridge.errors import StoreError

UNUSED_SECONDS = 7 * 24 * 3600.0
RECORD = "dataset.json"


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
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


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
