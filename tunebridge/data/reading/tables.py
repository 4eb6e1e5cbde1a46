"""Parquet and Arrow files and folders that `datasets` saved, read batch by batch with pyarrow (extra `data`)."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import orjson

from tunebridge.data.reading.incoming import RawRow
from tunebridge.errors import DataError, MissingPackage

SUFFIXES = frozenset({".parquet", ".arrow", ".feather"})
BATCH_ROWS = 256
ARROW_FILE_MAGIC = b"ARROW1"


def read(file: IO[bytes], suffix: str, name: str) -> Iterator[RawRow]:
    """Yield a table's rows as plain values; DataError when it cannot be read."""
    try:
        pyarrow = importlib.import_module("pyarrow")
        importlib.import_module("pyarrow.ipc")
        parquet = importlib.import_module("pyarrow.parquet") if suffix == ".parquet" else None
    except ImportError:
        raise MissingPackage("pyarrow", file=name) from None
    try:
        for batch in _batches(pyarrow, parquet, file):
            for row in batch.to_pylist():
                yield {key: without_nulls(value) for key, value in row.items() if value is not None}
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise DataError(f"cannot be read ({reason}). Write the file again.", file=name) from None


def _batches(pyarrow: Any, parquet: Any, file: IO[bytes]) -> Iterator[Any]:
    if parquet is not None:
        yield from parquet.ParquetFile(file, pre_buffer=False).iter_batches(batch_size=BATCH_ROWS)
        return
    is_file = file.read(len(ARROW_FILE_MAGIC)) == ARROW_FILE_MAGIC
    file.seek(0)
    if not is_file:
        for batch in pyarrow.ipc.open_stream(file):
            yield from _slices(batch)
        return
    reader = pyarrow.ipc.open_file(file)
    for number in range(reader.num_record_batches):
        yield from _slices(reader.get_batch(number))


def _slices(batch: Any) -> Iterator[Any]:
    for start in range(0, batch.num_rows, BATCH_ROWS):
        yield batch.slice(start, BATCH_ROWS)


def without_nulls(value: Any) -> Any:
    """Return a value without the nulls that Arrow fills in for keys that a row does not have."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [without_nulls(inner) for inner in value]
    return value


def saved_files(folder: Path) -> list[Path]:
    """Return the Arrow files of a folder that `datasets` saved; of several splits the one named train."""
    splits = folder / "dataset_dict.json"
    if splits.exists():
        names = _read(splits).get("splits", [])
        if "train" not in names:
            raise DataError(f"has the splits {', '.join(names)}. Name one, such as {folder}/{names[0]}.", file=folder)
        return saved_files(folder / "train")
    state = folder / "state.json"
    if not state.exists():
        message = "is a folder, and not one that `datasets` saved. Name its files, with a pattern such as *.jsonl."
        raise DataError(message, file=folder)
    files = [folder / Path(entry["filename"]).name for entry in _read(state).get("_data_files", [])]
    if not files or not all(file.exists() for file in files):
        raise DataError("lacks some of its files. Save the dataset again.", file=folder)
    return files


def _read(path: Path) -> dict[str, Any]:
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise DataError(f"cannot be read ({error}). Save the dataset again.", file=path) from None
    return found if isinstance(found, dict) else {}
