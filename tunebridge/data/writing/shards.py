"""From canonical rows to a service's files: in its shape, within its limits."""

from collections.abc import Sequence
from pathlib import Path
from typing import IO

import orjson

from tunebridge.data.dataset import Split, owner_only
from tunebridge.data.targets import Target, convert_row
from tunebridge.errors import DataError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


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
