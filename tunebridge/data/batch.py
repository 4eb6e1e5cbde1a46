"""What becomes of some rows: decoded, brought into canonical form, checked, digested and converted, in one pass.

`convert_batch` is a pure function of its arguments and needs nothing of TuneBridge beside this package: the engine
runs it in one process or in several, and so can Ray Data's `map_batches` or `datasets.map`.
"""

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
from pydantic import ValidationError

from tunebridge.data.canonical import canonical_bytes, canonical_row, features_of, kind_of
from tunebridge.data.checks import check_row
from tunebridge.data.example import Example
from tunebridge.data.places import place_of
from tunebridge.data.problems import Finding
from tunebridge.data.readers import READERS, ROWS_LOOKED_AT, Reader, choose, other_shape, rename, shape_error
from tunebridge.data.scan import scan
from tunebridge.data.shapes import RawRow
from tunebridge.data.split import Splitter
from tunebridge.data.targets import CanonicalRow, Converted, Target
from tunebridge.errors import DataError

SHORT_ANSWER = 96
"""Bytes of a canonical turn whose answer may be a class's name."""
MAX_CLASSES = 100


@dataclass(frozen=True)
class Recipe:
    """How raw rows become canonical rows, and what else is wanted of them; the same for every row of a file."""

    reader: Reader
    readers: tuple[Reader, ...] = READERS
    columns: Mapping[str, str] = field(default_factory=dict)
    file: int = 0
    """Number of the file, kept in each row's place."""
    splitter: Splitter | None = None
    """Decides which rows are held out; unset: none, or all (`held_out`)."""
    held_out: bool = False
    target: Target | None = None
    """Shape to convert the rows to."""
    count_tokens: Callable[[CanonicalRow], int] | None = None
    max_tokens: int | None = None


class TooLong(NamedTuple):
    """A row that is longer than the limit."""

    line: int
    tokens: int
    is_answer_lost: bool
    """Whether nothing of its last answer is left when it is cut."""


class Rejected(NamedTuple):
    """A row that is wrong."""

    line: int
    row: bytes
    codes: tuple[str, ...]


@dataclass
class Side:
    """The good rows of a batch that are trained on, or those that are held out."""

    rows: list[bytes] = field(default_factory=list)
    """Canonical rows, without line ends."""
    places: "array[int]" = field(default_factory=lambda: array("Q"))
    """Where each row came from, see `file_and_line`."""
    kinds: Counter[str] = field(default_factory=Counter)
    features: Counter[str] = field(default_factory=Counter)
    converted: list[tuple[bytes, ...]] = field(default_factory=list)
    """Rows in the target's shape, for each row; empty where it was refused."""
    inexact: list[tuple[int, Converted]] = field(default_factory=list)
    """(number in `rows`, conversion) of rows that lose something in the target or are refused; without its rows."""


@dataclass
class Batch:
    """What became of some rows."""

    train: Side = field(default_factory=Side)
    held_out: Side = field(default_factory=Side)
    findings: list[tuple[int, Finding]] = field(default_factory=list)
    """(line, what is wrong)."""
    rejected: list[Rejected] = field(default_factory=list)
    content: "array[int]" = field(default_factory=lambda: array("Q"))
    """(digest of the normalised row, digest of the row, place) of each good row, flat."""
    asked: "array[int]" = field(default_factory=lambda: array("Q"))
    """(digest of what is asked, digest of the answer or 0, place) of each good row, flat."""
    first_lines: dict[str, int] = field(default_factory=dict)
    """Kind -> line of its first row."""
    metadata_keys: Counter[str] = field(default_factory=Counter)
    """Keys that the shape does not know and that were kept as metadata."""
    short_answers: Counter[bytes] = field(default_factory=Counter)
    long_answers: int = 0
    too_long: list[TooLong] = field(default_factory=list)
    strata: dict[str, "array[float]"] = field(default_factory=dict)
    """Of a survey: the positions of each stratum's rows."""
    blank: int = 0


def convert_batch(
    rows: Sequence[bytes | RawRow], recipe: Recipe | None = None, *, lines: Iterable[int] | None = None
) -> Batch:
    """Return what becomes of raw rows: JSON objects as bytes, or plain values of a table.

    Without a recipe the shape is found from the rows themselves; DataError where it is not clear.
    """
    recipe = recipe or Recipe(choose(sample(rows), None, READERS))
    batch = Batch()
    for line, raw in zip(lines if lines is not None else range(1, len(rows) + 1), rows, strict=False):
        if isinstance(raw, bytes) and (not raw or raw.isspace()):
            batch.blank += 1
            continue
        try:
            row = decode(raw) if isinstance(raw, bytes) else raw
            canonical = _canonical(row, recipe, batch)
            text = canonical_bytes(canonical)
            if isinstance(raw, bytes):
                _refuse_double_keys(raw, row, text if canonical is row else None)
        except _Wrong as wrong:
            _reject(batch, line, raw, list(wrong.findings))
            continue
        found = list(check_row(canonical))
        if any(finding.code[0] == "E" for finding in found):
            batch.first_lines.setdefault(kind_of(canonical), line)
            _reject(batch, line, raw, found)
            continue
        try:
            _keep(batch, line, canonical, text, recipe)
        except DataError as error:
            _reject(batch, line, raw, [_finding(error)])
            continue
        batch.findings += [(line, finding) for finding in found]
    return batch


def sample(rows: Iterable[bytes | RawRow]) -> list[RawRow]:
    """Return the first rows that can be read, to find their shape."""
    found: list[RawRow] = []
    for raw in rows:
        try:
            found.append(decode(raw) if isinstance(raw, bytes) else raw)
        except _Wrong:
            continue
        if len(found) == ROWS_LOOKED_AT:
            break
    return found


class _Wrong(Exception):  # not an error
    """A row cannot be read; carries what is wrong."""

    def __init__(self, *findings: Finding) -> None:
        self.findings = findings


def decode(line: bytes) -> RawRow:
    """Return the object that a line of JSON holds."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _Wrong(_syntax(line, error)) from None
    if not isinstance(row, dict):
        message = f"a row is a JSON object, this is a {type(row).__name__}"
        raise _Wrong(Finding("E002", message, "Mend or remove the line."))
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


def _refuse_double_keys(line: bytes, row: RawRow, written: bytes | None) -> None:
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
            raise _Wrong(Finding("E002", f"the key {twice!r} stands there twice", "Remove one."))
        return found

    try:
        json.loads(line, object_pairs_hook=pairs)
    except RecursionError:
        raise _Wrong(Finding("E002", "nested too deep", "Mend or remove the line.")) from None


def _canonical(row: RawRow, recipe: Recipe, batch: Batch) -> CanonicalRow:
    reader = recipe.reader
    try:
        if recipe.columns:
            row = rename(row, recipe.columns)
        if not reader.keys <= row.keys() or (reader.fits is not None and not reader.fits(row)):
            raise _Wrong(_odd_shape(row, recipe))
        converted = reader.convert(row)
        canonical = canonical_row(converted) or Example.model_validate(converted).to_json()
    except ValidationError as error:
        raise _Wrong(*_explain(error)) from None
    except DataError as error:
        raise _Wrong(_finding(error)) from None
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise _Wrong(Finding("E003", shape_error(error, reader), "Mend or remove the row.")) from None
    if "metadata" in canonical and "metadata" not in row:
        batch.metadata_keys.update(canonical["metadata"].keys())
    return canonical


def _finding(error: DataError) -> Finding:
    what, _, fix = error.message.rpartition(". ")
    return Finding(error.code or "E003", what or error.message, f"{fix.rstrip('.')}.")


def _odd_shape(row: RawRow, recipe: Recipe) -> Finding:
    other = other_shape(row, recipe.reader, recipe.readers)
    seen = f"looks like {other}" if other else f"has the keys {', '.join(sorted(row)) or 'none'}"
    message = f"the row {seen}, while the file's other rows are {recipe.reader.name}"
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


def _reject(batch: Batch, line: int, raw: bytes | RawRow, findings: list[Finding]) -> None:
    batch.findings += [(line, finding) for finding in findings]
    text = raw if isinstance(raw, bytes) else orjson.dumps(raw, default=str)
    batch.rejected.append(Rejected(line, text, tuple(dict.fromkeys(finding.code for finding in findings))))


def _keep(batch: Batch, line: int, row: CanonicalRow, text: bytes, recipe: Recipe) -> None:
    parts = _parts(row)
    asked = hashlib.sha256(parts.asked).digest()
    is_held_out = recipe.splitter.is_held_out(row, asked) if recipe.splitter else recipe.held_out
    side = batch.held_out if is_held_out else batch.train
    place, kind = place_of(recipe.file, line, held_out=is_held_out), kind_of(row)
    batch.first_lines.setdefault(kind, line)
    side.rows.append(text)
    side.places.append(place)
    side.kinds[kind] += 1
    if features := features_of(row):
        side.features.update(features)
    # The lowest bit tells the sides apart: a held-out row that stands among the trained ones is not twice there.
    batch.content.extend((_number(_normal(parts.learnt)) & ~1 | is_held_out, _number(text), place))
    answer = parts.answer if kind == "sft" else b""
    batch.asked.extend((int.from_bytes(asked[:8], "big"), _number(answer) if answer else 0, place))
    _count_answer(batch, answer)
    batch.findings += [(line, Finding(found.code, found.what, _FIXES[found.code])) for found in scan(text)]
    if recipe.splitter is not None and recipe.splitter.is_survey:
        recipe.splitter.survey(batch.strata, row, asked)
    if recipe.target is not None:
        _convert(side, row, recipe.target)
    if recipe.count_tokens is not None and recipe.max_tokens is not None:
        _measure(batch, line, row, recipe.count_tokens, recipe.max_tokens)


class _Parts(NamedTuple):
    asked: bytes
    """What stands before the last answer."""
    answer: bytes
    """The last answer of a conversation; empty where there is none."""
    learnt: bytes
    """All that a model sees of the row, without its id, metadata and reference."""


def _parts(row: CanonicalRow) -> _Parts:
    if "text" in row:
        text = canonical_bytes(row["text"])
        return _Parts(text, b"", text)
    messages = row["messages"]
    if "preferred" in row:
        asked, answer = canonical_bytes(messages), b""
        return _Parts(asked, answer, asked + canonical_bytes([row["preferred"], row["rejected"]]))
    if messages[-1]["role"] == "assistant":
        asked, answer = canonical_bytes(messages[:-1] or None), canonical_bytes(messages[-1])
    else:
        asked, answer = canonical_bytes(messages), b""
    more = canonical_bytes([row.get("tools"), row.get("label")]) if len(row) > 1 else b""
    return _Parts(asked, answer, asked + answer + more)


def prompt_digest(row: CanonicalRow) -> bytes:
    """Return a digest of what is asked: everything before the last answer."""
    return hashlib.sha256(_parts(row).asked).digest()


_FOLD = bytes(byte + 32 if 65 <= byte <= 90 else byte for byte in range(256))
_IGNORED = b" \t,;:!?'`\"\\()[]{}"


def _normal(text: bytes) -> bytes:
    """Return a text without the difference of upper and lower case, spaces and most punctuation."""
    if b"\\" in text:
        text = text.replace(b"\\n", b" ").replace(b"\\t", b" ")
    if not text.isascii():
        text = "".join(text.decode().casefold().split()).encode()
    return text.translate(_FOLD, _IGNORED)


def _number(text: bytes) -> int:
    """Return 64 bits of a text's digest."""
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")


_FIXES = {
    "W106": "They are seldom meant; remove them.",
    "W107": "A model can repeat what it was trained on; replace them.",
}


def _count_answer(batch: Batch, answer: bytes) -> None:
    if not answer or len(answer) > SHORT_ANSWER:
        batch.long_answers += 1
    elif answer in batch.short_answers or len(batch.short_answers) < MAX_CLASSES:
        batch.short_answers[answer] += 1


def _convert(side: Side, row: CanonicalRow, target: Target) -> None:
    converted = target.convert(row)
    if converted.losses or converted.refused:
        side.inexact.append((len(side.rows) - 1, converted._replace(rows=())))
    side.converted.append(tuple([orjson.dumps(each) for each in converted.rows]) if not converted.refused else ())


def _measure(
    batch: Batch, line: int, row: CanonicalRow, count_tokens: Callable[[CanonicalRow], int], max_tokens: int
) -> None:
    """Note a row that is longer than the limit, and whether anything of its last answer is left."""
    tokens = count_tokens(row)
    if tokens <= max_tokens:
        return
    messages = row.get("messages", ())
    before = {**row, "messages": messages[:-1]} if len(messages) > 1 else None
    is_lost = before is not None and count_tokens(before) >= max_tokens
    batch.too_long.append(TooLong(line, tokens, is_lost))
