"""The files of a run folder: read with clear errors, written in one step."""

import json
import os
from pathlib import Path
from typing import Any

from tunebridge.data.dataset import Split
from tunebridge.data.example import Example
from tunebridge.errors import DataError, StoreError
from tunebridge.training.config import RUN_FILE, RunConfig


def read_config(folder: Path) -> RunConfig:
    """Read `run.json`; StoreError when it is broken."""
    try:
        return RunConfig.read(folder)
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder / RUN_FILE} cannot be read: {error}. Submit the job again.") from error


def read_split(path: Path) -> Split | None:
    """Read the canonical rows of a split, None where there are none; DataError with the line of a broken row."""
    if not path.exists():
        return None
    try:
        return Split.read(path)
    except ValueError as error:
        raise DataError(
            "this row of the run folder is broken. Submit the job again.", file=path.name, line=_broken_line(path)
        ) from error


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a JSON file under another name, bring it to disk, rename it."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(record, indent=2) + "\n")
    to_disk(partial)
    partial.rename(path)


def to_disk(path: Path) -> None:
    """Wait until a file, or a folder with all that is in it, is on disk."""
    for found in (*path.rglob("*"), path):
        handle = os.open(found, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _broken_line(path: Path) -> int | None:
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        try:
            if line:
                Example.model_validate_json(line)
        except ValueError:
            return number
    return None
