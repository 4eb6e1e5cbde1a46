"""From answers to numbers: each model's score on each row, what failed, how long it took and what it cost."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tunebridge.evaluation.answers import Answer, AnswerBook, Failure
from tunebridge.evaluation.metrics import Metric, MetricRow
from tunebridge.evaluation.task import EvalRow, EvalTask


@dataclass(frozen=True)
class Price:
    """What a service charges, in US dollars per million tokens."""

    input: Decimal
    output: Decimal


@dataclass
class Scored:
    """One model's answers, scored; lists are in the task's order."""

    scores: dict[str, list[float]]
    """Metric -> score of each row."""
    failures: list[Failure | None]
    contributions: dict[str, list[float]] = field(default_factory=dict)
    """Metric -> what each row contributes, where the score of all answers is not the mean of the rows' scores."""
    corpus: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Metric -> what it says of all answers together, where that is more than a mean."""
    latencies: list[float] = field(default_factory=list)
    """In seconds, of the rows that were answered one by one."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    """Of all rows; None unless every answered row says so."""

    def column(self, metric: str) -> list[float]:
        """Return one number per row whose mean is the model's score, and by which it is compared."""
        return self.contributions.get(metric, self.scores[metric])

    @property
    def failure_counts(self) -> Mapping[Failure, int]:
        """How many answers failed in which way."""
        return Counter(failure for failure in self.failures if failure)

    def usd_per_1000_requests(self, price: Price | None) -> Decimal | None:
        """Return what 1,000 such rows cost; None where there is no price, or the tokens are not known."""
        if price is None or self.input_tokens is None or self.output_tokens is None:
            return None
        spent = (price.input * self.input_tokens + price.output * self.output_tokens) / 1_000_000
        return (spent * 1000 / len(self.failures)).quantize(Decimal("0.000001"))


def metric_row(row: EvalRow) -> MetricRow:
    """Return what a metric is given of a row."""
    return MetricRow(
        reference=row.references[0] if row.references else None,
        references=row.references[1:],
        prompt=tuple(turn.model_dump(mode="json", exclude_none=True) for turn in row.prompt),
        schema=row.metadata.get("schema"),
        expected_tool_calls=row.expected_tool_calls,
        metadata=row.metadata,
    )


def try_out(task: EvalTask, metrics: Sequence[Metric]) -> None:
    """Raise EvaluationError where a metric misses something in a row, before anybody is asked anything."""
    rows = [metric_row(row) for row in task.rows]
    wanted: tuple[Callable[[MetricRow], object], ...] = (
        lambda row: row.reference,
        lambda row: row.schema,
        lambda row: row.expected_tool_calls,
    )
    odd = [next((row for row in rows if part(row) is None), rows[0]) for part in wanted]
    for metric in metrics:
        for row in odd:
            metric.score("", row)


def score(task: EvalTask, book: AnswerBook, metrics: Sequence[Metric]) -> Scored:
    """Return the scores of a model's answers; what failed has NaN until `settle` sees the other models too."""
    rows = [metric_row(row) for row in task.rows]
    found = Scored({metric.name: [] for metric in metrics}, [])
    tokens: dict[str, list[int | None]] = {"input_tokens": [], "output_tokens": []}
    for row, answer in zip(rows, book.read(row.key for row in task.rows), strict=True):
        _add(found, tokens, answer)
        for metric in metrics:
            worth = math.nan if answer.failure else metric.score(answer.output, row)
            found.scores[metric.name].append(worth)
    for name, counts in tokens.items():
        known = [count for count in counts if count is not None]
        setattr(found, name, sum(known) if known and len(known) == len(counts) else None)
    together = [metric for metric in metrics if metric.corpus_score is not None or metric.is_corpus]
    if together:
        outputs = ["" if a.failure else a.output for a in book.read(row.key for row in task.rows)]
        found.corpus = {metric.name: metric.corpus(outputs, rows) for metric in together}
        found.contributions = {m.name: m.contributions(outputs, rows) for m in together if m.is_corpus}
    return found


def settle(scored: Sequence[Scored], metrics: Sequence[Metric]) -> None:
    """Give each answer that failed the worst score: 0, or what the worst answer of all models got if that is worse."""
    for metric in metrics:
        columns = [each.scores[metric.name] for each in scored]
        known = [0.0, *(worth for column in columns for worth in column if not math.isnan(worth))]
        worst = min(known) if metric.higher_is_better else max(known)
        for each, column in zip(scored, columns, strict=True):
            each.scores[metric.name] = [worst if math.isnan(worth) else worth for worth in column]


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the value that a share of the values does not exceed (nearest rank); None of no values."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)] if ranked else None


def _add(found: Scored, tokens: dict[str, list[int | None]], answer: Answer) -> None:
    found.failures.append(answer.failure)
    if answer.latency_seconds is not None:
        found.latencies.append(answer.latency_seconds)
    if answer.failure not in ("error", "timeout"):  # nobody says what those took
        tokens["input_tokens"].append(answer.input_tokens)
        tokens["output_tokens"].append(answer.output_tokens)
