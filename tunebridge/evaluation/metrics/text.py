"""Scores of free text against a reference: exact match, token F1, contains, regex."""

import re
from collections import Counter

from tunebridge.errors import EvaluationError
from tunebridge.evaluation.metrics.normalisers import normaliser, squad
from tunebridge.evaluation.metrics.row import Metric, MetricRow, best


def exact_match(*, normalise: str = "strip") -> Metric:
    """Return 1 where the answer equals a reference after the named normalisers."""
    same = normaliser(normalise)
    return Metric("exact_match", best(lambda output, answer: float(same(output) == same(answer))), is_binary=True)


def token_f1() -> Metric:
    """Return the F1 of the words that answer and reference share, as SQuAD 2.0's script."""
    return Metric("token_f1", best(_token_f1))


def _token_f1(output: str, answer: str) -> float:
    said, right = squad(output).split(), squad(answer).split()
    if not said or not right:
        return float(said == right)
    shared = (Counter(said) & Counter(right)).total()
    return 2 * shared / (len(said) + len(right))


def contains(*, normalise: str = "none", text: str | None = None) -> Metric:
    """Return 1 where the answer contains a reference, or the fixed `text`."""
    same = normaliser(normalise)

    def score(output: str, row: MetricRow) -> float:
        wanted = row.right_answers if text is None else (text,)
        return float(any(same(answer) in same(output) for answer in wanted))

    return Metric("contains", score, is_binary=True)


def regex(*, pattern: str) -> Metric:
    """Return 1 where the pattern is found in the answer; `(?i)` and the like stand in the pattern."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise EvaluationError(f"The pattern {pattern!r} is no regular expression: {error}. Mend it.") from None
    return Metric("regex", lambda output, _: float(compiled.search(output) is not None), is_binary=True)
