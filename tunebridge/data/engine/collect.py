"""What was found in all rows, merged from batches in order: problems, counts, and what only shows among rows."""

import difflib
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tunebridge.data.canonical import FIELDS
from tunebridge.data.checking.duplicates import DigestIndex, Sightings, find_answers, find_repeats
from tunebridge.data.engine.batch import MAX_CLASSES, Batch
from tunebridge.data.places import file_and_line, place_of
from tunebridge.data.problems import Finding, Problem
from tunebridge.errors import DataError

MAX_PROBLEMS = 50
MAX_WARNINGS = 200
MAX_KEYS = 1000
"""Different keys of metadata that are counted; rows with keys like numbers would fill the memory."""
MIN_ROWS_FOR_CLASSES = 50
IMBALANCE = 0.9
"""Share of one answer from which on the rows are called unbalanced."""


@dataclass
class Report:
    """What was found in some files."""

    problems: list[Problem]
    """The first ones of each severity, in order of the files and lines; `counts` has all of them."""
    counts: dict[str, int]
    """Code -> rows, or places, that have it."""
    errors: int
    """Errors in all, those that are not listed too."""
    kinds: dict[str, int]
    features: dict[str, int]
    """Rows that have each part that not every backend can take."""
    rows: int
    """Rows that are right."""
    rejected: int
    """Rows that are wrong."""
    formats: dict[str, str]
    """File -> shape of its rows."""
    metadata_keys: dict[str, int] = field(default_factory=dict)
    """Key that no shape knows -> rows in which it was kept as metadata."""
    blank_lines: int = 0


class Collector:
    """Merges batches; memory does not grow with the rows beyond a digest index that is bounded."""

    def __init__(self, files: Sequence[str], *, max_problems: int = MAX_PROBLEMS) -> None:
        self.formats: dict[str, str] = {}
        self._files, self._max = files, max_problems
        self._errors: list[Problem] = []
        self._warnings: dict[tuple[str, str, str], Sightings] = {}
        self._counts: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()
        self._features: Counter[str] = Counter()
        self._first: dict[str, int] = {}
        self._content, self._asked = DigestIndex(), DigestIndex()
        self._metadata: Counter[str] = Counter()
        self._answers: Counter[bytes] = Counter()
        self._long_answers = self._rejected = self._blank = self._lost = 0
        self._too_long = Sightings()

    def add(self, file: int, batch: Batch) -> None:
        """Take in what was found in the next rows of a file."""
        for line, finding in batch.findings:
            self._add_finding(file, line, finding)
        for kind, line in batch.first_lines.items():
            self._first.setdefault(kind, place_of(file, line))
        for side in (batch.train, batch.held_out):
            self._kinds.update(side.kinds)
            self._features.update(side.features)
        digests = array("Q", b"".join(batch.digests))
        self._content.add(digests[0::4], digests[1::4], batch.places)
        self._asked.add(digests[2::4], digests[3::4], batch.places)
        if len(self._metadata) < MAX_KEYS:
            self._metadata.update(batch.metadata_keys)
        if len(self._answers) < MAX_CLASSES:
            self._answers.update(batch.short_answers)
        self._long_answers += batch.long_answers
        self._rejected += len(batch.rejected)
        self._blank += batch.blank
        self._too_long.add([place_of(file, row.line) for row in batch.too_long])
        self._lost += sum(row.is_answer_lost for row in batch.too_long)

    def add_error(self, file: int, error: DataError) -> None:
        """Take in why a file could not be read further."""
        what, _, fix = error.message.rpartition(". ")
        self._add_finding(file, error.line or 0, Finding(error.code or "E002", what, f"{fix.rstrip('.')}."))

    def report(self, *, max_tokens: int | None = None) -> Report:
        """Return everything, with what only shows among the rows."""
        rows = sum(self._kinds.values())
        among = [*self._mixed_kinds(), *self._without_rows(rows)]
        self._errors += among
        self._counts.update(problem.code for problem in among)
        warnings = [*self._row_warnings(), *self._among_rows(), *self._lengths(max_tokens), *self._odd_keys()]
        return Report(
            problems=[*self._errors, *warnings[:MAX_WARNINGS]],
            counts=dict(sorted(self._counts.items())),
            errors=sum(count for code, count in self._counts.items() if code[0] == "E"),
            kinds=dict(self._kinds),
            features=dict(self._features),
            rows=rows,
            rejected=self._rejected,
            formats=self.formats,
            metadata_keys=dict(self._metadata),
            blank_lines=self._blank,
        )

    def _add_finding(self, file: int, line: int, finding: Finding) -> None:
        self._counts[finding.code] += 1
        if finding.severity == "error":
            if len(self._errors) < self._max:
                self._errors.append(finding.at(self._files[file], line))
            return
        key = (finding.code, finding.message, finding.fix)
        if key in self._warnings or len(self._warnings) < MAX_WARNINGS:
            self._warnings.setdefault(key, Sightings()).add([place_of(file, line)])

    def _row_warnings(self) -> Iterator[Problem]:
        for (code, message, fix), seen in self._warnings.items():
            yield self._problem(code, f"{message} in {_count(seen, 'row')} ({self._names(seen)})", fix, seen)

    def _mixed_kinds(self) -> Iterator[Problem]:
        if len(self._first) > 1:
            first = [(kind, Sightings(1, [place])) for kind, place in self._first.items()]
            kinds = ", ".join(f"{kind} (first in {self._names(seen)})" for kind, seen in first)
            second = Sightings(1, sorted(self._first.values())[1:2])
            yield self._problem("E011", f"the rows are of several kinds: {kinds}", "Keep one kind per job.", second)

    def _without_rows(self, rows: int) -> Iterator[Problem]:
        if not rows and not self._rejected and not self._errors:
            yield Problem(
                code="E010", severity="error", message="there are no rows", fix="Add rows.", file=self._files[0]
            )

    def _among_rows(self) -> Iterator[Problem]:
        repeats, answers = find_repeats(self._content), find_answers(self._asked)
        told = (
            ("W101", repeats.exact, "row", "stand there more than once", _TWICE),
            ("W102", repeats.near, "row", "are another's twin but for case, spaces, punctuation or an id", _TWICE),
            ("W103", answers.leak, "validation row", "ask what a training row asks", _LEAK),
            ("W104", answers.differ, "row", "ask the same and are answered differently", _DIFFER),
        )
        for code, seen, noun, what, fix in told:
            if seen.count:
                self._counts[code] = seen.count
                yield self._problem(code, f"{_count(seen, noun)} {what} ({self._names(seen)})", fix, seen)
        yield from self._classes()

    def _classes(self) -> Iterator[Problem]:
        rows = sum(self._answers.values())
        if rows < MIN_ROWS_FOR_CLASSES or self._long_answers > rows // 10 or len(self._answers) < 2:
            return
        most = max(self._answers.values())
        if most > IMBALANCE * rows and len(self._answers) < MAX_CLASSES:
            self._counts["W108"] = 1
            message = f"{most / rows:.0%} of {rows:,} answers are the same one"
            fix = "A model that always gives it looks good; add rows with other answers, or judge by class."
            yield Problem(code="W108", severity="warning", message=message, fix=fix, file=self._files[0])

    def _lengths(self, max_tokens: int | None) -> Iterator[Problem]:
        seen = self._too_long
        if seen.count:
            self._counts["W105"] = seen.count
            message = (
                f"{_count(seen, 'row')} longer than {max_tokens:,} tokens: {seen.count:,} answers would be cut, "
                f"{self._lost:,} of them lost altogether ({self._names(seen)})"
            )
            yield self._problem("W105", message, "Shorten them, raise max_length, or set data.too_long.", seen)

    def _odd_keys(self) -> Iterator[Problem]:
        for key, count in self._metadata.items():
            near = difflib.get_close_matches(key, FIELDS, n=1, cutoff=0.8)
            if near:
                self._counts["W111"] += count
                message = f"the key {key!r} of {count:,} rows was kept as metadata; did you mean {near[0]!r}?"
                yield Problem(code="W111", severity="warning", message=message, fix="Rename it, or leave it.")

    def _problem(self, code: str, message: str, fix: str, seen: Sightings) -> Problem:
        file, line = self._place(seen.first[0])
        return Finding(code, message, fix).at(file, line)

    def _place(self, place: int) -> tuple[str, int]:
        file, line = file_and_line(place)
        return self._files[file], line

    def _names(self, seen: Sightings) -> str:
        places = [self._place(place) for place in seen.first]
        more = ", ..." if seen.count > len(places) else ""
        if len(self._files) > 1:
            return ", ".join(f"{file}:{line}" for file, line in places) + more
        return f"line{'s' if seen.count > 1 else ''} {', '.join(str(line) for _, line in places)}{more}"


_TWICE = "They count double in training; remove them if that is not meant."
_LEAK = "The validation loss will look too good; remove them from one of the two."
_DIFFER = "Decide for one answer, unless several are right."


def _count(seen: Sightings, noun: str) -> str:
    return f"{seen.count:,} {noun}{'s' if seen.count != 1 else ''}"
