"""How well a model expected a text, from the log-probabilities that it gave to the text's tokens."""

import math
from collections.abc import Sequence

from tunebridge.errors import EvaluationError
from tunebridge.evaluation.metrics.row import Metric, MetricRow, Sums


def perplexity() -> Metric:
    """Return e to the mean negative log-probability per token; only models of one tokeniser are comparable by it."""

    def sums(_: Sequence[str], rows: Sequence[MetricRow]) -> Sums:
        given = [_given(row) for row in rows]
        return Sums([(math.fsum(each), len(each)) for each in given], lambda added: math.exp(-added[0] / added[1]))

    return Metric(
        "perplexity",
        lambda _, row: math.exp(-math.fsum(_given(row)) / len(_given(row))),
        higher_is_better=False,
        corpus_sums=sums,
    )


def bits_per_byte() -> Metric:
    """Return the bits that the model needs per byte (UTF-8) of the reference; comparable between all models."""

    def sums(_: Sequence[str], rows: Sequence[MetricRow]) -> Sums:
        return Sums([(_bits(row), _bytes(row)) for row in rows], lambda added: added[0] / added[1])

    return Metric("bits_per_byte", lambda _, row: _bits(row) / _bytes(row), higher_is_better=False, corpus_sums=sums)


def _given(row: MetricRow) -> tuple[float, ...]:
    if not row.log_probabilities:
        raise EvaluationError("The model gave no log-probabilities. Choose a metric that needs none, or a local model.")
    return row.log_probabilities


def _bits(row: MetricRow) -> float:
    return -math.fsum(_given(row)) / math.log(2)


def _bytes(row: MetricRow) -> int:
    return len(row.right_answers[0].encode()) or 1
