"""What becomes of some rows: decoded, brought into canonical form, checked, digested and converted, in one pass.

`convert_batch` is a pure function of its arguments and needs nothing of TuneBridge beside this package: the engine
runs it in one process or in several, and so can Ray Data's `map_batches` or `datasets.map`.
"""

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from tunebridge.data.canonical import features_of, kind_of, plain_roles
from tunebridge.data.checking.checks import check_plain, check_row
from tunebridge.data.checking.digests import Parts, parts_of
from tunebridge.data.checking.scan import scan
from tunebridge.data.engine.split import Splitter
from tunebridge.data.places import place_of
from tunebridge.data.problems import Finding
from tunebridge.data.reading import incoming
from tunebridge.data.reading.decode import WrongRow, decode, finding_of, refuse_double_keys, sample, to_canonical
from tunebridge.data.reading.incoming import RawRow
from tunebridge.data.reading.readers import READERS, Reader, choose
from tunebridge.data.targets import CanonicalRow, Converted, Target, convert_row
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
    places: "array[int]" = field(default_factory=lambda: array("Q"))
    """Where each good row of either side came from."""
    digests: list[bytes] = field(default_factory=list)
    """Of each good row, see `Parts.digests`."""
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
    maker = _Maker(recipe or Recipe(choose(sample(rows), None, READERS)))
    for line, raw in zip(lines if lines is not None else range(1, len(rows) + 1), rows, strict=False):
        maker.add(line, raw)
    return maker.batch


class _Maker:
    """Makes one batch, row by row. What every row needs is looked up once."""

    def __init__(self, recipe: Recipe) -> None:
        self.batch = Batch()
        self._recipe, self._splitter = recipe, recipe.splitter
        self._is_chat = recipe.reader.convert is incoming.chat and not recipe.columns
        self._files = {side: place_of(recipe.file, 0, held_out=side) for side in (False, True)}
        self._is_plain_work = recipe.splitter is None and recipe.count_tokens is None

    def add(self, line: int, raw: bytes | RawRow) -> None:
        """Take in one raw row."""
        if isinstance(raw, bytes) and (not raw or raw.isspace()):
            self.batch.blank += 1
            return
        recipe = self._recipe
        try:
            row = decode(raw) if isinstance(raw, bytes) else raw
            # A plain chat row is canonical as it stands; most rows of most files are.
            roles = plain_roles(row) if self._is_chat else None
            canonical = row if roles is not None else to_canonical(row, recipe.reader, recipe.readers, recipe.columns)
            parts = parts_of(canonical)
            # A plain row is never longer than its line, and shorter where a key stood there twice.
            if isinstance(raw, bytes) and (roles is None or len(raw) != len(parts.text)):
                refuse_double_keys(raw, row, parts.text if canonical is row else None)
            found = check_plain(roles, canonical) if roles is not None else list(check_row(canonical))
            if found:
                self._judge(line, canonical, found)
            self._keep(line, canonical, parts, roles)
        except WrongRow as wrong:
            self._reject(line, raw, wrong.findings)
            return
        except DataError as error:
            self._reject(line, raw, (finding_of(error),))
            return
        except orjson.JSONEncodeError:
            message, fix = "the row holds a value that JSON cannot, such as bytes or a date", "Leave its column out."
            self._reject(line, raw, (Finding("E003", message, fix),))
            return
        if found:
            self.batch.findings += [(line, finding) for finding in found]
        if "metadata" in canonical and "metadata" not in row:
            self.batch.metadata_keys.update(canonical["metadata"].keys())

    def _judge(self, line: int, row: CanonicalRow, found: Sequence[Finding]) -> None:
        if any(finding.code[0] == "E" for finding in found):
            self.batch.first_lines.setdefault(kind_of(row), line)
            raise WrongRow(*found)

    def _reject(self, line: int, raw: bytes | RawRow, findings: Sequence[Finding]) -> None:
        self.batch.findings += [(line, finding) for finding in findings]
        text = raw if isinstance(raw, bytes) else orjson.dumps(raw, default=str)
        codes = tuple(dict.fromkeys(finding.code for finding in findings))
        self.batch.rejected.append(Rejected(line, text, codes))

    def _keep(self, line: int, row: CanonicalRow, parts: Parts, roles: tuple[str, ...] | None) -> None:
        batch, recipe = self.batch, self._recipe
        kind = kind_of(row) if roles is None else "sft" if "assistant" in roles else "prompt_only"
        asked = hashlib.sha256(parts.asked).digest()
        is_held_out = self._splitter.is_held_out(row, asked) if self._splitter else recipe.held_out
        side = batch.held_out if is_held_out else batch.train
        place = self._files[is_held_out] | line
        batch.first_lines.setdefault(kind, line)
        batch.places.append(place)
        side.rows.append(parts.text)
        side.places.append(place)
        side.kinds[kind] += 1
        if roles is None and (features := features_of(row)):
            side.features.update(features)
        has_answer = kind == "sft"
        batch.digests.append(parts.digests(asked, has_answer=has_answer))
        _count_answer(batch, parts.answer if has_answer else b"")
        if found := scan(parts.text):
            batch.findings += [(line, Finding(each.code, each.what, _FIXES[each.code])) for each in found]
        if recipe.target is not None:
            _convert(side, row, recipe.target)
        if not self._is_plain_work:
            self._measure(line, row, asked)

    def _measure(self, line: int, row: CanonicalRow, asked: bytes) -> None:
        """Count the row to its stratum, and note whether it is too long."""
        recipe = self._recipe
        if recipe.splitter is not None and recipe.splitter.is_survey:
            recipe.splitter.survey(self.batch.strata, row, asked)
        if recipe.count_tokens is not None and recipe.max_tokens is not None:
            too_long = _too_long(line, row, recipe.count_tokens, recipe.max_tokens)
            self.batch.too_long += [too_long] if too_long else []


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
    rows, losses, refused = converted = convert_row(row, target)
    if losses or refused is not None:
        side.inexact.append((len(side.rows) - 1, converted._replace(rows=())))
    side.converted.append(() if refused is not None else tuple([orjson.dumps(each) for each in rows]))


def _too_long(
    line: int, row: CanonicalRow, count_tokens: Callable[[CanonicalRow], int], max_tokens: int
) -> TooLong | None:
    """Return what is known of a row that is longer than the limit."""
    tokens = count_tokens(row)
    if tokens <= max_tokens:
        return None
    messages = row.get("messages", ())
    before = {**row, "messages": messages[:-1]} if len(messages) > 1 else None
    return TooLong(line, tokens, is_answer_lost=before is not None and count_tokens(before) >= max_tokens)
