"""From raw rows to a batch: decoded, brought into canonical form, checked, digested and converted, in one pass.

`convert_batch` is a pure function of its arguments and needs nothing of TuneBridge beside this package: the engine
runs it in one process or in several, and so can Ray Data's `map_batches` or `datasets.map`.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from operator import itemgetter

import orjson

from tunebridge.data.canonical import canonical_bytes, canonical_row, features_of, kind_of, plain_roles
from tunebridge.data.checking.checks import check_row, plain_kind
from tunebridge.data.checking.digests import asked_and_answer, digest_rows, plain_asked_and_answer, seen_of, sum_of
from tunebridge.data.checking.scan import scan_rows
from tunebridge.data.engine.batch import MAX_CLASSES, Batch, Recipe, Rejected, Side, TooLong
from tunebridge.data.places import place_of
from tunebridge.data.problems import Finding
from tunebridge.data.reading import incoming
from tunebridge.data.reading.decode import WrongRow, decode, finding_of, refuse_double_keys, sample, to_canonical
from tunebridge.data.reading.incoming import RawRow
from tunebridge.data.reading.readers import READERS, choose
from tunebridge.data.shapes.convert import convert_row
from tunebridge.data.targets import CanonicalRow, Target
from tunebridge.errors import DataError

SHORT_ANSWER = 96
"""Bytes of a canonical turn whose answer may be a class's name."""


def convert_batch(
    rows: Sequence[bytes | RawRow], recipe: Recipe | None = None, *, lines: Iterable[int] | None = None
) -> Batch:
    """Return what becomes of raw rows: JSON objects as bytes, or plain values of a table.

    Without a recipe the shape is found from the rows themselves; DataError where it is not clear.
    """
    maker = _Maker(recipe or Recipe(choose(sample(rows), None, READERS)))
    for line, raw in zip(lines if lines is not None else range(1, len(rows) + 1), rows, strict=False):
        maker.add(line, raw)
    return maker.finish()


_Kept = tuple[int, str, bytes, int, bytes, bytes]
"""What is kept of a good row until its block ends.

Its line, its kind, the SHA-256 of what it asks, the sum of its last answer (0 where none is trained), what a model sees
of it, and the row again where it is more than what is asked and answered.
"""


class _Rows:
    """The good rows of one side; what can be done with all of them at once is done at the end."""

    def __init__(self, file: int, *, held_out: bool) -> None:
        self.side = Side()
        self.kept: list[_Kept] = []
        self._place = place_of(file, 0, held_out=held_out)

    def finish(self, batch: Batch) -> Side:
        """Return the side; what else there is to say of its rows goes into the batch."""
        side = self.side
        if not self.kept:
            return side
        lines, kinds, asked, sums, seen, more = zip(*self.kept, strict=True)
        side.places = array("Q", [self._place | line for line in lines])
        side.digests = digest_rows(seen, asked, sums, more)
        side.kinds = Counter(kinds)
        for kind in side.kinds:
            first = lines[kinds.index(kind)]
            batch.first_lines[kind] = min(first, batch.first_lines.get(kind, first))
        for number, found in scan_rows(side.rows):
            batch.findings.append((lines[number], Finding(found.code, found.what, _FIXES[found.code])))
        return side


class _Maker:
    """Makes one batch, row by row."""

    def __init__(self, recipe: Recipe) -> None:
        self._batch, self._recipe = Batch(), recipe
        self._is_chat = recipe.reader.convert is incoming.chat and not recipe.columns
        self._is_measured = recipe.splitter is not None or recipe.count_tokens is not None
        self._train, self._held_out = (_Rows(recipe.file, held_out=side) for side in (False, True))

    def add(self, line: int, raw: bytes | RawRow) -> None:
        """Take in one raw row."""
        try:
            row = decode(raw) if isinstance(raw, bytes) else raw
            # A plain chat row is canonical as it stands; most rows of most files are.
            if self._is_chat and (roles := plain_roles(row)) is not None:
                self._add_plain(line, raw, row, roles)
            else:
                self._add_other(line, raw, row)
        except WrongRow as wrong:
            self._reject(line, raw, wrong.findings)
        except DataError as error:
            self._reject(line, raw, (finding_of(error),))
        except orjson.JSONEncodeError:
            message, fix = "the row holds a value that JSON cannot, such as bytes or a date", "Leave its column out."
            self._reject(line, raw, (Finding("E003", message, fix),))

    def finish(self) -> Batch:
        """Return the batch."""
        batch = self._batch
        batch.train, batch.held_out = self._train.finish(batch), self._held_out.finish(batch)
        batch.findings.sort(key=itemgetter(0))
        return batch

    def _add_plain(self, line: int, raw: bytes | RawRow, row: CanonicalRow, roles: tuple[str, ...]) -> None:
        text = canonical_bytes(row)
        # Such a row is never longer than its line, and shorter where a key stood there twice.
        if len(raw) != len(text) and isinstance(raw, bytes):
            refuse_double_keys(raw, text)
        kind = plain_kind(roles)
        if kind is None:
            self._judge(line, row, list(check_row(row)))
        asked, answer = plain_asked_and_answer(row, text, roles)
        asked = sha256(asked).digest()
        rows = self._rows(line, row, text, asked)
        rows.kept.append((line, kind or kind_of(row), asked, self._sum(answer), text, b""))

    def _add_other(self, line: int, raw: bytes | RawRow, row: RawRow) -> None:
        recipe = self._recipe
        # A chat row that pydantic would take as it stands needs no reader.
        known = canonical_row(row) if self._is_chat and "messages" in row else None
        canonical = known or to_canonical(row, recipe.reader, recipe.readers, recipe.columns)
        text = canonical_bytes(canonical)
        if isinstance(raw, bytes):
            refuse_double_keys(raw, text if canonical is row else orjson.dumps(row))
        if found := list(check_row(canonical)):
            self._judge(line, canonical, found)
        kind = kind_of(canonical)
        asked, answer = asked_and_answer(canonical)
        asked, total = sha256(asked).digest(), self._sum(answer if kind == "sft" else b"")
        rows = self._rows(line, canonical, text, asked)
        rows.kept.append((line, kind, asked, total, seen_of(canonical, text), text if len(canonical) > 1 else b""))
        rows.side.features.update(features_of(canonical))
        if "metadata" in canonical and "metadata" not in row:
            self._batch.metadata_keys.update(canonical["metadata"].keys())

    def _rows(self, line: int, row: CanonicalRow, text: bytes, asked: bytes) -> _Rows:
        """Return the rows of the side that a row falls on, where its text and its conversion stand already."""
        recipe = self._recipe
        held_out = recipe.splitter.is_held_out(row, asked) if recipe.splitter else recipe.held_out
        rows = self._held_out if held_out else self._train
        if recipe.target is not None:
            _convert(rows.side, row, recipe.target)
        if self._is_measured:
            self._measure(line, row, asked)
        rows.side.rows.append(text)
        return rows

    def _sum(self, answer: bytes) -> int:
        """Return the sum of an answer, and count one that may be a class's name."""
        classes = self._batch.short_answers
        if not 0 < len(answer) <= SHORT_ANSWER:
            self._batch.long_answers += 1
        elif answer in classes or len(classes) < MAX_CLASSES:
            classes[answer] += 1
        return sum_of(answer)

    def _judge(self, line: int, row: CanonicalRow, found: Sequence[Finding]) -> None:
        """Reject a row that is wrong, note what is odd about one that is not."""
        if any(finding.code[0] == "E" for finding in found):
            self._batch.first_lines.setdefault(kind_of(row), line)
            raise WrongRow(*found)
        self._batch.findings += [(line, finding) for finding in found]

    def _reject(self, line: int, raw: bytes | RawRow, findings: Sequence[Finding]) -> None:
        if isinstance(raw, bytes) and not raw.strip():
            self._batch.blank += 1
            return
        self._batch.findings += [(line, finding) for finding in findings]
        text = raw if isinstance(raw, bytes) else orjson.dumps(raw, default=str)
        codes = tuple(dict.fromkeys(finding.code for finding in findings))
        self._batch.rejected.append(Rejected(line, text, codes))

    def _measure(self, line: int, row: CanonicalRow, asked: bytes) -> None:
        """Count the row to its stratum, and note whether it is too long."""
        recipe = self._recipe
        if recipe.splitter is not None and recipe.splitter.is_survey:
            recipe.splitter.survey(self._batch.strata, row, asked)
        if recipe.count_tokens is not None and recipe.max_tokens is not None:
            too_long = _too_long(line, row, recipe.count_tokens, recipe.max_tokens)
            self._batch.too_long += [too_long] if too_long else []


_FIXES = {
    "W106": "They are seldom meant; remove them.",
    "W107": "A model can repeat what it was trained on; replace them.",
}


def _convert(side: Side, row: CanonicalRow, target: Target) -> None:
    rows, losses, refused = converted = convert_row(row, target)
    if losses or refused is not None:
        side.inexact.append((len(side.converted), converted._replace(rows=())))
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
