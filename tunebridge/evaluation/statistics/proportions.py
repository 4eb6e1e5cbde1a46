"""Intervals and tests of shares of right answers, in plain Python."""

import math
from collections.abc import Callable
from statistics import NormalDist


def two_sided_z(confidence: float) -> float:
    """Return how many standard errors an interval reaches to each side: 1.96 at a confidence of 0.95."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def two_sided_p(z: float) -> float:
    """Return the probability that a standard normal variable lies at least `z` away from 0."""
    return math.erfc(abs(z) / math.sqrt(2))


def wilson_interval(share: float, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the interval that covers the true share in 95 % of samples of `count` rows (Wilson 1927)."""
    centre = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return (centre - half) / scale, (centre + half) / scale


def mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided p-value of McNemar's score test (1947): rows right only after, and only before."""
    return two_sided_p((gained - lost) / math.sqrt(gained + lost)) if gained + lost else 1.0


def exact_mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided exact p-value: how often a fair coin falls at least as unevenly (binomial test)."""
    differing = gained + lost
    tail = ways = 1  # ways to place k of the differing rows, from k = 0
    for k in range(min(gained, lost)):
        ways = ways * (differing - k) // (k + 1)
        tail += ways
    return min(1.0, float(2 * tail / 2**differing))  # whole numbers: exact for any count


def tango_interval(gained: int, lost: int, rows: int, z: float) -> tuple[float, float]:
    """Return the score interval of the difference of two paired shares (Tango 1998).

    It holds the differences that the score test does not reject, so it leaves out 0 exactly where `mcnemar` rejects.
    """
    seen = (gained - lost) / rows
    low = _root(lambda delta: _score(gained, lost, rows, delta) - z, -1.0, seen)
    high = _root(lambda delta: _score(gained, lost, rows, delta) + z, seen, 1.0)
    return low, high


def _score(gained: int, lost: int, rows: int, delta: float) -> float:
    """Return Tango's statistic for the difference `delta`; falls from +inf at -1 to -inf at 1."""
    linear = -gained - lost + (2 * rows - gained + lost) * delta
    constant = -lost * delta * (1 - delta)
    only_before = (math.sqrt(linear * linear - 8 * rows * constant) - linear) / (4 * rows)
    variance = rows * (2 * only_before + delta * (1 - delta))
    above = gained - lost - rows * delta
    return above / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, above) if above else 0.0


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(60):  # halving: 2 / 2**60 is below a float's resolution
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2
