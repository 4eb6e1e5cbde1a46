"""What a metric is and what it is given of a row."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunebridge.errors import EvaluationError

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


RowScore = Callable[[str, MetricRow], float]
CorpusScore = Callable[[Sequence[str], Sequence[MetricRow]], dict[str, Any]]


@dataclass(frozen=True)
class Metric:
    """A score of single answers and, where it differs from their mean, of all answers together."""

    name: str
    row_score: RowScore
    is_binary: bool = False
    """Scores are 0 and 1."""
    higher_is_better: bool = True
    corpus_score: CorpusScore | None = None
    options: Json = field(default_factory=dict)
    """The settings that were asked for, to be shown beside the score."""

    def score(self, output: str, row: MetricRow) -> float:
        """Return the score of one answer; EvaluationError where the metric gives no finite number."""
        found = float(self.row_score(output, row))
        if not math.isfinite(found):
            raise EvaluationError(f"The metric {self.name!r} gave {found}. Let it return a finite number.")
        return found

    @property
    def is_corpus(self) -> bool:
        """Whether the score of all answers together is more than the mean of the rows' scores."""
        return self.corpus_score is not None

    def corpus(self, outputs: Sequence[str], rows: Sequence[MetricRow]) -> dict[str, Any]:
        """Return what the metric says of all answers together: at least `{name: value}`."""
        if not outputs or len(outputs) != len(rows):
            raise EvaluationError(f"There are {len(outputs)} answers to {len(rows)} rows. Give one answer per row.")
        if self.corpus_score is not None:
            return self.corpus_score(outputs, rows)
        scores = [self.score(output, row) for output, row in zip(outputs, rows, strict=True)]
        return {self.name: sum(scores) / len(scores)}


def best(score: Callable[[str, str], float]) -> RowScore:
    """Return a score of rows that takes the best over the right answers."""
    return lambda output, row: max(score(output, answer) for answer in row.right_answers)
