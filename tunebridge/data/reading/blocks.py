"""From an open file to blocks of raw rows: lines, the objects of an array, the rows of a table."""

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from tunebridge.data.reading import arrays
from tunebridge.data.reading.incoming import RawRow
from tunebridge.errors import DataError

BLOCK_BYTES = 1 << 18
BLOCK_ROWS = 128
MAX_ROW_BYTES = 1 << 26


@dataclass(frozen=True)
class Block:
    """Consecutive rows of one file, as bytes where it holds JSON and as values where it is a table."""

    rows: Sequence[bytes | RawRow]
    lines: Sequence[int]
    """Line of each row, counted from 1; of a table the number of the row."""
    size: int
    """Bytes of the file that were read for it, before decompression where that is known."""


class Stream(io.RawIOBase):
    """A file whose first bytes were read already."""

    def __init__(self, head: bytes, file: IO[bytes]) -> None:
        self._head, self._file = head, file

    def readable(self) -> bool:
        """It can be read."""
        return True

    def take(self, size: int) -> bytes:
        """Return up to `size` bytes; none at the end of the file."""
        chunk, self._head = self._head[:size], self._head[size:]
        return chunk or self._file.read(size)

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as one read goes."""
        chunk = self.take(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def first_character(self) -> bytes:
        """Return the first byte that is no space, without consuming it."""
        read = b""
        while chunk := self.take(1 << 12):
            read += chunk
            if read.strip() or len(read) > 1 << 20:
                break
        self._head = read
        return read.lstrip()[:1]


def of_lines(stream: Stream, name: str) -> Iterator[Block]:
    """Yield whole lines; only a line feed ends one, because other separators may stand inside JSON strings."""
    pieces: list[bytes] = []
    line = 1
    while chunk := stream.take(BLOCK_BYTES):
        if b"\n" in chunk:
            rows = b"".join([*pieces, chunk]).split(b"\n")
            pieces = [rows.pop()]
            yield Block(rows, range(line, line + len(rows)), len(chunk))
            line += len(rows)
            continue
        pieces.append(chunk)
        if len(pieces) * BLOCK_BYTES > MAX_ROW_BYTES:
            message = f"a line is longer than {MAX_ROW_BYTES >> 20} MiB. Write one row per line."
            raise DataError(message, file=name, line=line, code="E002")
    if last := b"".join(pieces):
        yield Block([last], range(line, line + 1), 0)


def of_array(stream: Stream, name: str) -> Iterator[Block]:
    """Yield the objects of one JSON array, each with the line that it begins in."""
    rows: list[bytes | RawRow] = []
    lines: list[int] = []
    size = 0
    for line, row in arrays.items(io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-8", newline=""), name):
        rows.append(row)
        lines.append(line)
        size += len(row)
        if size > BLOCK_BYTES:
            yield Block(rows, lines, size)
            rows, lines, size = [], [], 0
    yield Block(rows, lines, size)


def of_csv(stream: Stream, name: str, delimiter: str) -> Iterator[Block]:
    """Yield a table's rows by the names in its first line; an empty cell is a missing value."""
    csv.field_size_limit(min(sys.maxsize, MAX_ROW_BYTES))
    reader = csv.reader(_decoded(io.BufferedReader(stream), name), delimiter=delimiter, strict=True)
    names: list[str] | None = None
    rows: list[bytes | RawRow] = []
    lines: list[int] = []
    line = 1
    try:
        for cells in reader:
            if names is None:
                names = _names(cells, name)
            elif cells:
                rows.append(_csv_row(names, cells, name, line))
                lines.append(line)
            line = reader.line_num + 1
            if len(rows) >= BLOCK_ROWS:
                yield Block(rows, lines, 0)
                rows, lines = [], []
    except csv.Error as error:
        raise DataError(f"not valid CSV: {error}. Mend it.", file=name, line=line, code="E002") from None
    yield Block(rows, lines, 0)


def _decoded(lines: Iterable[bytes], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            message = f"is not UTF-8 ({error.reason}). Save it as UTF-8."
            raise DataError(message, file=name, line=number, code="E001") from None


def _names(cells: list[str], file: str) -> list[str]:
    if len(set(cells)) < len(cells):
        raise DataError("two columns have one name. Rename one.", file=file, line=1, code="E002")
    return cells


def _csv_row(names: list[str], cells: list[str], file: str, line: int) -> RawRow:
    if len(cells) != len(names):
        message = f"the row has {len(cells)} cells, the first line names {len(names)} columns. Mend the row."
        raise DataError(message, file=file, line=line, code="E003")
    return {name: cell for name, cell in zip(names, cells, strict=True) if cell != ""}


def of_table(rows: Iterator[RawRow]) -> Iterator[Block]:
    """Yield a table's rows, numbered from 1."""
    batch: list[bytes | RawRow] = []
    first = 1
    for row in rows:
        batch.append(row)
        if len(batch) >= BLOCK_ROWS:
            yield Block(batch, range(first, first + len(batch)), 0)
            first, batch = first + len(batch), []
    yield Block(batch, range(first, first + len(batch)), 0)
