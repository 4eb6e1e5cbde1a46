"""Recorded scores of two runs of one model: the same chance per row, drawn twice."""

from collections.abc import Callable

import numpy as np

Scores = tuple[list[float], list[float]]


def binary(accuracy: float, rows: int, seed: int, *, gain: float = 0.0) -> Scores:
    """Right and wrong answers; rows differ in how hard they are, and `gain` is what the second run is better by."""
    source = np.random.default_rng(seed)
    chance = source.beta(4 * accuracy, 4 * (1 - accuracy), rows)
    base = source.random(rows) < chance
    other = source.random(rows) < chance
    repaired = ~other & (source.random(rows) < gain / (1 - accuracy))
    return base.astype(float).tolist(), (other | repaired).astype(float).tolist()


def token_f1(rows: int, seed: int, *, gain: float = 0.0) -> Scores:
    """Scores as token F1 gives them: many 0 and 1, the rest between."""
    source = np.random.default_rng(seed)
    ease = source.beta(2, 2, rows)

    def run(lift: float) -> np.ndarray:
        kind = source.random(rows)
        return np.where(kind < 0.3 * (1 - ease), 0.0, np.where(kind > 0.7, 1.0, source.beta(4 * ease + 0.5, 2))) + lift

    return run(0.0).tolist(), run(gain).tolist()


def skewed(rows: int, seed: int, *, gain: float = 0.0) -> Scores:
    """Unbounded scores whose differences have a long tail."""
    source = np.random.default_rng(seed)
    return [0.0] * rows, (source.exponential(1.0, rows) - 1.0 + gain).tolist()


def conversations(rows: int, seed: int, *, gain: float = 0.0) -> tuple[list[float], list[float], list[int]]:
    """Scores of rows that come in conversations of one to nine turns, which go well or badly together."""
    source = np.random.default_rng(seed)
    groups = np.repeat(np.arange(rows), source.integers(1, 10, rows))[:rows]
    mood = source.normal(0, 0.3, rows)[groups]
    return [0.0] * rows, (mood + source.normal(0, 0.1, rows) + gain).tolist(), groups.tolist()


CONTINUOUS: dict[str, Callable[..., Scores]] = {"token_f1": token_f1, "skewed": skewed}
