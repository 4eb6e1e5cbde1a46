"""What a metric is and what it is given of a row."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunebridge.errors import EvaluationError, TuneBridgeError

Json = Mapping[str, Any]


@dataclass(frozen=True)
class MetricRow:
    """What is known of a row beside the model's answer."""

    reference: str | None = None
    references: tuple[str, ...] = ()
    """Further right answers; the best one counts."""
    prompt: tuple[Json, ...] = ()
    """The messages that were asked, in OpenAI's shape."""
    schema: Json | None = None
    """JSON schema that the answer has to fit."""
    expected_tool_calls: tuple[Json, ...] | None = None
    """Calls as `{"name", "arguments"}` or in OpenAI's shape; an empty tuple: no tool is to be called."""
    metadata: Json = field(default_factory=dict)
    log_probabilities: tuple[float, ...] | None = None
    """Natural logarithms of the probabilities that the model gave to the reference's tokens."""

    @property
    def right_answers(self) -> tuple[str, ...]:
        """The reference and the further ones; EvaluationError where there is none."""
        found = (() if self.reference is None else (self.reference,)) + self.references
        if not found:
            raise EvaluationError("A row has no reference. Add one, or choose a metric that needs none.")
        return found


@dataclass(frozen=True)
class Sums:
    """A score of all answers together that follows from sums over the rows, as BLEU's does from counts of n-grams."""

    rows: Sequence[tuple[float, ...]]
    """What each row adds to the sums."""
    value: Callable[[Sequence[float]], float]
    """The score that sums give."""

    @property
    def total(self) -> float:
        """The score of all rows."""
        return self.value(self._added)

    @property
    def _added(self) -> list[float]:
        return [math.fsum(column) for column in zip(*self.rows, strict=True)]

    def contributions(self) -> list[float]:
        """Return numbers, one per row, whose mean is the score: the jackknife's pseudo-values (Tukey 1958).

        A row's number says how the score moves when the row is left out. Intervals and tests of means hold for them
        as they do for scores of rows.
        """
        if len(self.rows) < 2:
            return [self.total] * len(self.rows)
        added = self._added
        distinct = set(self.rows)
        without = {row: self.value([a - r for a, r in zip(added, row, strict=True)]) for row in distinct}
        mean = math.fsum(without[row] for row in self.rows) / len(self.rows)
        return [self.value(added) + (len(self.rows) - 1) * (mean - without[row]) for row in self.rows]


RowScore = Callable[[str, MetricRow], float]
CorpusScore = Callable[[Sequence[str], Sequence[MetricRow]], dict[str, Any]]
CorpusSums = Callable[[Sequence[str], Sequence[MetricRow]], Sums]


@dataclass(frozen=True)
class Metric:
    """A score of single answers and, where it differs from their mean, of all answers together."""

    name: str
    row_score: RowScore
    is_binary: bool = False
    """Contributions are 0 and 1."""
    higher_is_better: bool = True
    corpus_score: CorpusScore | None = None
    corpus_sums: CorpusSums | None = None
    """Of a metric whose corpus score is not the mean of the rows' scores."""
    options: Json = field(default_factory=dict)
    """The settings that were asked for, to be shown beside the score."""

    def score(self, output: str, row: MetricRow) -> float:
        """Return the score of one answer; EvaluationError where the metric fails or gives no finite number."""
        try:
            found = float(self.row_score(output, row))
        except TuneBridgeError:
            raise
        except Exception as error:  # a metric may be the user's code, which may raise anything
            raise EvaluationError(
                f"The metric {self.name!r} failed: {type(error).__name__}: {error}. Mend its function."
            ) from error
        if not math.isfinite(found):
            raise EvaluationError(f"The metric {self.name!r} gave {found}. Let it return a finite number.")
        return found

    @property
    def is_corpus(self) -> bool:
        """Whether the score of all answers together is more than the mean of the rows' scores."""
        return self.corpus_sums is not None

    def corpus(self, outputs: Sequence[str], rows: Sequence[MetricRow]) -> dict[str, Any]:
        """Return what the metric says of all answers together: at least `{name: value}`."""
        _require_pairs(outputs, rows)
        if self.corpus_score is not None:
            return self.corpus_score(outputs, rows)
        if self.corpus_sums is not None:
            return {self.name: self.corpus_sums(outputs, rows).total}
        scores = [self.score(output, row) for output, row in zip(outputs, rows, strict=True)]
        return {self.name: sum(scores) / len(scores)}

    def contributions(self, outputs: Sequence[str], rows: Sequence[MetricRow]) -> list[float]:
        """Return one number per row whose mean is the corpus score: what two models are compared by.

        They are the rows' scores, except for metrics such as BLEU and macro F1 whose corpus score is not their mean.
        """
        _require_pairs(outputs, rows)
        if self.corpus_sums is not None:
            return self.corpus_sums(outputs, rows).contributions()
        return [self.score(output, row) for output, row in zip(outputs, rows, strict=True)]


def _require_pairs(outputs: Sequence[str], rows: Sequence[MetricRow]) -> None:
    if not outputs or len(outputs) != len(rows):
        raise EvaluationError(f"There are {len(outputs)} answers to {len(rows)} rows. Give one answer per row.")


def best(score: Callable[[str, str], float]) -> RowScore:
    """Return a score of rows that takes the best over the right answers."""
    return lambda output, row: max(score(output, answer) for answer in row.right_answers)
