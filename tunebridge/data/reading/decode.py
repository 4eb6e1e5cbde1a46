"""From a raw row to the canonical one, or to what is wrong with it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from pydantic import ValidationError

from tunebridge.data.canonical import canonical_row
from tunebridge.data.example import Example
from tunebridge.data.problems import Finding
from tunebridge.data.reading.incoming import RawRow
from tunebridge.data.reading.readers import ROWS_LOOKED_AT, Reader, other_shape, rename, shape_error
from tunebridge.data.targets import CanonicalRow
from tunebridge.errors import DataError


def sample(rows: Iterable[bytes | RawRow]) -> list[RawRow]:
    """Return the first rows that can be read, to find their shape."""
    found: list[RawRow] = []
    for raw in rows:
        try:
            found.append(decode(raw) if isinstance(raw, bytes) else raw)
        except WrongRow:
            continue
        if len(found) == ROWS_LOOKED_AT:
            break
    return found


class WrongRow(Exception):  # it ends a row, not the reading
    """A row cannot be read; carries what is wrong."""

    def __init__(self, *findings: Finding) -> None:
        self.findings = findings


def decode(line: bytes) -> RawRow:
    """Return the object that a line of JSON holds."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise WrongRow(_syntax(line, error)) from None
    if not isinstance(row, dict):
        message = f"a row is a JSON object, this is a {type(row).__name__}"
        raise WrongRow(Finding("E002", message, "Mend or remove the line."))
    return row


def _syntax(line: bytes, error: orjson.JSONDecodeError) -> Finding:
    if line.startswith(b"\xef\xbb\xbf"):
        return Finding("E001", "a byte order mark stands inside the file", "Remove it; joined files have one.")
    try:
        line.decode()
    except UnicodeDecodeError as wrong:
        message = f"not UTF-8 (byte {wrong.start + 1} of the line)"
        return Finding("E001", message, "Save the file as UTF-8.")
    return Finding("E002", f"not valid JSON: {error.msg} (column {error.colno})", "Mend or remove the line.")


def refuse_double_keys(line: bytes, row: RawRow, written: bytes | None) -> None:
    """Refuse a key that is named twice in one object: every parser would keep the last and forget the first.

    Writing the row again loses the quotes of such a key, so the same number of quotes says that there is none. Only
    a quote that the line writes as an escape could make up for them.
    """
    again = written if written is not None else orjson.dumps(row)
    if line.count(b'"') == again.count(b'"') and (b"\\" not in line or b"\\u0022" not in line):
        return

    def pairs(items: Sequence[tuple[str, Any]]) -> RawRow:
        found = dict(items)
        if len(found) < len(items):
            names = [name for name, _ in items]
            twice = next(name for name in names if names.count(name) > 1)
            raise WrongRow(Finding("E002", f"the key {twice!r} stands there twice", "Remove one."))
        return found

    try:
        json.loads(line, object_pairs_hook=pairs)
    except RecursionError:
        raise WrongRow(Finding("E002", "nested too deep", "Mend or remove the line.")) from None


def to_canonical(row: RawRow, reader: Reader, readers: Sequence[Reader], columns: Mapping[str, str]) -> CanonicalRow:
    """Return a row of a shape in canonical form; WrongRow when it is not of the shape."""
    try:
        if columns:
            row = rename(row, columns)
        if not reader.keys <= row.keys() or (reader.fits is not None and not reader.fits(row)):
            raise WrongRow(_odd_shape(row, reader, readers))
        converted = reader.convert(row)
        return canonical_row(converted) or Example.model_validate(converted).to_json()
    except ValidationError as error:
        raise WrongRow(*_explain(error)) from None
    except DataError as error:
        raise WrongRow(finding_of(error)) from None
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise WrongRow(Finding("E003", shape_error(error, reader), "Mend or remove the row.")) from None


def finding_of(error: DataError) -> Finding:
    """Return what an error says of a row."""
    what, _, fix = error.message.rpartition(". ")
    return Finding(error.code or "E003", what or error.message, f"{fix.rstrip('.')}.")


def _odd_shape(row: RawRow, reader: Reader, readers: Sequence[Reader]) -> Finding:
    other = other_shape(row, reader, readers)
    seen = f"looks like {other}" if other else f"has the keys {', '.join(sorted(row)) or 'none'}"
    message = f"the row {seen}, while the file's other rows are {reader.name}"
    return Finding("E011" if other else "E003", message, "Keep one format per file.")


def _explain(error: ValidationError) -> list[Finding]:
    """Return what pydantic says, one finding per place; of a union's branches the one that came furthest."""
    deepest: dict[tuple[object, ...], tuple[int, Finding]] = {}
    for problem in error.errors(include_url=False, include_input=False):
        place = problem["loc"]
        path = ".".join(str(part) for number, part in enumerate(place) if _is_path(place, number))
        message = problem["msg"].removeprefix("Value error, ")
        text = f"{path + ': ' if path else ''}{message[:1].lower()}{message[1:]}"
        finding = Finding("E003", text, "Mend or remove the row.", path or None)
        key = place[: place.index("content")] if "content" in place else place
        if key not in deepest or len(place) > deepest[key][0]:
            deepest[key] = (len(place), finding)
    return [finding for _, finding in deepest.values()]


def _is_path(place: tuple[int | str, ...], number: int) -> bool:
    """Whether a part of pydantic's location is a key or an index, not the name of a union's branch."""
    part = place[number]
    if isinstance(part, int) or number == 0:
        return True
    is_branch = place[number - 1] == "content" or (isinstance(place[number - 1], int) and "content" in place[:number])
    return not is_branch
