"""How well a model expected a text, from the log-probabilities that it gave to the text's tokens."""

import math
from collections.abc import Sequence
from typing import Any

from tunebridge.errors import EvaluationError
from tunebridge.evaluation.metrics.row import Metric, MetricRow


def perplexity() -> Metric:
    """Return e to the mean negative log-probability per token; only models of one tokeniser are comparable by it."""

    def corpus(_: Sequence[str], rows: Sequence[MetricRow]) -> dict[str, Any]:
        given = [_given(row) for row in rows]
        return {"perplexity": math.exp(-sum(map(math.fsum, given)) / sum(map(len, given)))}

    return Metric(
        "perplexity",
        lambda _, row: math.exp(-math.fsum(_given(row)) / len(_given(row))),
        higher_is_better=False,
        corpus_score=corpus,
    )


def bits_per_byte() -> Metric:
    """Return the bits that the model needs per byte (UTF-8) of the reference; comparable between all models."""

    def corpus(_: Sequence[str], rows: Sequence[MetricRow]) -> dict[str, Any]:
        return {"bits_per_byte": sum(map(_bits, rows)) / sum(map(_bytes, rows))}

    return Metric("bits_per_byte", lambda _, row: _bits(row) / _bytes(row), higher_is_better=False, corpus_score=corpus)


def _given(row: MetricRow) -> tuple[float, ...]:
    if not row.log_probabilities:
        raise EvaluationError("The model gave no log-probabilities. Choose a metric that needs none, or a local model.")
    return row.log_probabilities


def _bits(row: MetricRow) -> float:
    return -math.fsum(_given(row)) / math.log(2)


def _bytes(row: MetricRow) -> int:
    return len(row.right_answers[0].encode()) or 1
