"""From the names in a job file to blocks of raw rows, read one after the other: files of any size, a little memory.

A name is a file, a glob, a folder that `datasets` saved, or a URL that fsspec opens. What a file holds follows from
its ending: `.jsonl` or `.ndjson`, `.json` (one array, or one object per line), `.csv`, `.tsv`, `.parquet`, `.arrow`;
all but the last two also behind `.gz` or `.zst`.
"""

import glob
import gzip
import hashlib
import importlib
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, Any

from tunebridge.data.reading import blocks, tables
from tunebridge.data.reading.blocks import Block
from tunebridge.errors import DataError, MissingPackage

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
COMPRESSIONS = (".gz", ".zst")


@dataclass(frozen=True)
class Source:
    """One file of rows."""

    name: str
    """As the user is told about it."""
    path: str
    """Path or URL."""
    suffix: str
    """Ending that says what the file holds, without that of a compression."""
    compression: str = ""

    @property
    def size(self) -> int | None:
        """Bytes of the file, None where they are not known."""
        return None if _is_url(self.path) else Path(self.path).stat().st_size

    def digest(self) -> str:
        """Return the digest of the file's bytes, or of what the service says of a file behind a URL."""
        if _is_url(self.path):
            with _clear_errors(self.path):
                filesystem, path = _fsspec(self.path).core.url_to_fs(self.path)
                return f"{self.path} {filesystem.ukey(path)}"
        with _opened_plain(self) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]

    def blocks(self) -> Iterator[Block]:
        """Yield the file's rows; DataError when it cannot be read."""
        if self.suffix in tables.SUFFIXES:
            with _opened_plain(self) as file:
                yield from blocks.of_table(tables.read(file, self.suffix, self.name))
            return
        with _opened(self) as file:
            head = file.read(4)
            if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise DataError("is UTF-16. Save it as UTF-8.", file=self.name, line=1, code="E001")
            stream = blocks.Stream(head.removeprefix(BYTE_ORDER_MARK), file)
            if self.suffix in (".csv", ".tsv"):
                yield from blocks.of_csv(stream, self.name, "\t" if self.suffix == ".tsv" else ",")
            elif self.suffix == ".json" and stream.first_character() != b"{":
                yield from blocks.of_array(stream, self.name)
            else:
                yield from blocks.of_lines(stream, self.name)


def find(names: str | Sequence[str]) -> list[Source]:
    """Return the files that names stand for, in order; DataError where there are none."""
    found = [source for name in ([names] if isinstance(names, str) else names) for source in _find(name)]
    if not found:
        raise DataError("no file is named. Set data.train.")
    return found


def _find(name: str) -> list[Source]:
    if _is_url(name):
        return [_source(match) for match in _some(_matches(name), name)] if glob.has_magic(name) else [_source(name)]
    path = Path(name)
    if path.is_dir():
        return [_source(str(file)) for file in tables.saved_files(path)]
    if not path.exists() and glob.has_magic(name):
        return [_source(match) for match in _some(sorted(glob.glob(name, recursive=True)), name)]
    if not path.exists():
        raise DataError("there is no such file. Check data.train and data.validation.", file=name)
    return [_source(name)]


def _matches(url: str) -> list[str]:
    with _clear_errors(url):
        filesystem, path = _fsspec(url).core.url_to_fs(url)
        return [filesystem.unstrip_protocol(match) for match in sorted(filesystem.glob(path))]


@contextmanager
def _clear_errors(url: str) -> Iterator[None]:
    """Turn whatever a service's own package raises into a DataError; its message may hold more than is known of it."""
    try:
        yield
    except DataError:
        raise
    except ImportError as error:
        raise MissingPackage(error.name or str(error), file=url) from None
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        raise DataError(f"cannot be opened ({reason}). Check the address and your access to it.", file=url) from None


def _some(paths: list[str], name: str) -> list[str]:
    if not paths:
        raise DataError("no file fits this pattern. Check data.train and data.validation.", file=name)
    return paths


def _source(path: str) -> Source:
    suffixes = [suffix.lower() for suffix in PurePath(path).suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSIONS else ""
    return Source(path, path, suffixes[-1] if suffixes else "", compression)


def _is_url(name: str) -> bool:
    return "://" in name


def _fsspec(name: str) -> Any:
    try:
        importlib.import_module("fsspec.core")
        return importlib.import_module("fsspec")
    except ImportError:
        raise MissingPackage("fsspec", file=name) from None


@contextmanager
def _opened_plain(source: Source) -> Iterator[IO[bytes]]:
    """Open a file as it is; what goes wrong while it is read becomes a DataError."""
    try:
        if _is_url(source.path):
            with _clear_errors(source.path):
                opened = _fsspec(source.path).open(source.path, "rb").open()
            with opened as file:
                yield file
        else:
            with open(source.path, "rb") as file:
                yield file
    except DataError:
        raise
    except (OSError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"cannot be read ({reason}). Check the file and its permissions.", file=source.name) from None


@contextmanager
def _opened(source: Source) -> Iterator[IO[bytes]]:
    """Open a file for reading what is in it, decompressed."""
    with _opened_plain(source) as plain:
        if source.compression == ".gz":
            try:
                with gzip.open(plain) as file:
                    yield file  # type: ignore[misc]
            except (EOFError, zlib.error) as error:
                raise DataError(f"cannot be read ({error}). Compress it again.", file=source.name) from None
        elif source.compression == ".zst":
            try:
                zstandard = importlib.import_module("zstandard")
            except ImportError:
                raise MissingPackage("zstandard", file=source.name) from None
            try:
                with zstandard.open(plain, "rb") as file:
                    yield file
            except zstandard.ZstdError as error:
                raise DataError(f"cannot be read ({error}). Compress it again.", file=source.name) from None
        else:
            yield plain
