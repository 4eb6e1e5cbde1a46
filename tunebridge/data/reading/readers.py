"""One reader per shape of row, found from the keys of several rows or named in the job file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunebridge.data.reading import incoming
from tunebridge.data.reading.incoming import RawRow as RawRow
from tunebridge.errors import DataError

ROWS_LOOKED_AT = 50
"""Rows from which a shape is found."""


@dataclass(frozen=True)
class Reader:
    """Reads one shape of row; module-level functions, so that several processes can read."""

    name: str
    """Value of `data.format`."""
    keys: frozenset[str]
    """Keys that a row of this shape has; a row with all of them is taken for it."""
    convert: Callable[[RawRow], RawRow]
    """Turn a row into the keys of an Example; KeyError, TypeError and ValueError count as a wrong shape."""
    fits: Callable[[RawRow], bool] | None = None
    """What tells the shape from another one with the same keys."""

    def can_read(self, row: RawRow) -> bool:
        """Whether a row looks as if it were of this shape."""
        return self.keys <= row.keys() and (self.fits is None or self.fits(row))


def _is_chat(row: RawRow) -> bool:
    return not incoming.is_converse(row)


READERS = (
    Reader("chat", frozenset({"messages"}), incoming.chat, _is_chat),
    Reader("converse", frozenset({"messages"}), incoming.converse, incoming.is_converse),
    Reader("gemini", frozenset({"contents"}), incoming.gemini),
    Reader("sharegpt", frozenset({"conversations"}), incoming.sharegpt),
    Reader("alpaca", frozenset({"instruction", "output"}), incoming.alpaca),
    Reader("alpaca_preference", frozenset({"instruction", "chosen", "rejected"}), incoming.alpaca),
    Reader("preference", frozenset({"input", "preferred_output", "non_preferred_output"}), incoming.preference),
    Reader("chosen_rejected", frozenset({"prompt", "chosen", "rejected"}), incoming.chosen_rejected),
    Reader("implicit_prompt", frozenset({"chosen", "rejected"}), incoming.implicit_prompt),
    Reader("prompt_completion", frozenset({"prompt", "completion"}), incoming.prompt_completion),
    Reader("prompt_only", frozenset({"prompt"}), incoming.prompt_only),
    Reader("text", frozenset({"text"}), incoming.text),
)


def choose(rows: Sequence[RawRow], name: str | None, readers: Sequence[Reader]) -> Reader:
    """Return the reader that the job file names, or the one that fits most of a file's first rows.

    Of two that fit the same rows, the one that asks for more keys is the better fit. DataError E003 where none fits
    or where several do: it names them and asks for `data.format`.
    """
    if name is not None:
        return named(name, readers)
    votes: dict[str, int] = {}
    for row in rows[:ROWS_LOOKED_AT]:
        for reader in _best(row, readers):
            votes[reader.name] = votes.get(reader.name, 0) + 1
    most = max(votes.values(), default=0)
    winners = [reader for reader in readers if votes.get(reader.name) == most]
    if len(winners) == 1:
        return winners[0]
    seen = ", ".join(sorted(rows[0])) or "none"
    if not winners:
        message = f"the row's keys ({seen}) fit no known format. Set data.format, or name your columns in data.columns"
        raise DataError(message, code="E003")
    names = " or ".join(reader.name for reader in winners)
    raise DataError(f"the rows' keys ({seen}) fit {names}. Say which with data.format", code="E003")


def named(name: str, readers: Sequence[Reader]) -> Reader:
    """Return a reader by name; DataError where there is none."""
    found = next((reader for reader in readers if reader.name == name), None)
    if found is None:
        known = ", ".join(reader.name for reader in readers)
        raise DataError(f"data.format {name!r} is not known. Use one of {known}", code="E003")
    return found


def other_shape(row: RawRow, reader: Reader, readers: Sequence[Reader]) -> str | None:
    """Return which other shape a row that the reader cannot read looks like."""
    return next((other.name for other in _best(row, readers) if other is not reader), None)


def rename(row: RawRow, columns: Mapping[str, str]) -> RawRow:
    """Return the row with the user's column names replaced by ours; `columns` is ours -> theirs."""
    theirs = {theirs: ours for ours, theirs in columns.items()}
    renamed = {theirs.get(key, key): value for key, value in row.items()}
    if len(renamed) < len(row):
        raise DataError("a column of data.columns takes the name of another column. Rename one of them", code="E003")
    return renamed


def _best(row: RawRow, readers: Sequence[Reader]) -> list[Reader]:
    fitting = [reader for reader in readers if reader.can_read(row)]
    return [reader for reader in fitting if not any(reader.keys < other.keys for other in fitting)]


def shape_error(error: Exception, reader: Reader) -> str:
    """Return one sentence about a row that is not of the reader's shape; values are not repeated."""
    detail: Any = error.args[0] if error.args and isinstance(error, ValueError) else None
    if isinstance(error, KeyError):
        detail = f"{error.args[0]!r} is missing or not known"
    reason = f" ({detail})" if detail else ""
    return f"the row is not of the shape {reader.name}{reason}"
