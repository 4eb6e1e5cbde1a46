"""How many rows a comparison takes, what to expect of the rows there are, and several comparisons at once."""

import math
from collections.abc import Sequence
from statistics import NormalDist

from tunebridge.errors import EvaluationError
from tunebridge.evaluation.statistics.difference import MIN_ROWS
from tunebridge.evaluation.statistics.proportions import two_sided_z

POWER = 0.8
"""Share of evaluations that find an effect of the planned size."""
DISCORDANCE = 0.2
"""Share of rows on which a base and a tuned model differ, where nothing is known yet."""
DEVIATION = 0.35
"""Standard deviation of the differences of scores between 0 and 1, where nothing is known yet."""


def expected_half_width(
    rows: int,
    is_binary: bool,
    *,
    discordance: float = DISCORDANCE,
    deviation: float = DEVIATION,
    confidence: float = 0.95,
) -> float:
    """Return how far the interval of the difference will reach to each side, in units of the score.

    `discordance` is the share of rows that one model gets right and the other wrong (binary scores), `deviation` the
    standard deviation of the rows' differences (other scores).
    """
    if rows < 1:
        raise EvaluationError("There are no rows. Give at least one.")
    spread = math.sqrt(discordance) if is_binary else deviation
    return two_sided_z(confidence) * spread / math.sqrt(rows)


def rows_needed(
    effect: float,
    is_binary: bool,
    *,
    discordance: float = DISCORDANCE,
    deviation: float = DEVIATION,
    confidence: float = 0.95,
    power: float = POWER,
) -> int:
    """Return the rows at which a true difference of `effect` is found with the probability `power`.

    For binary scores by Miettinen (1968) and Connor (1987), else by the normal approximation.
    """
    if not effect:
        raise EvaluationError("No number of rows finds an effect of 0. Say how large a difference matters to you.")
    spread = math.sqrt(max(discordance, abs(effect))) if is_binary else deviation
    under_effect = math.sqrt(spread**2 - effect**2) if is_binary else deviation
    reach = two_sided_z(confidence) * spread + NormalDist().inv_cdf(power) * under_effect
    return max(MIN_ROWS, math.ceil((reach / effect) ** 2))


def rows_for_a_verdict(rows: int, *, half_width: float, distance: float, confidence: float) -> int | None:
    """Return the rows at which an interval of this half-width would clear the margin that is `distance` away."""
    z = two_sided_z(confidence)
    reach = half_width * (z + NormalDist().inv_cdf(POWER)) / z
    if distance <= reach * 1e-4:  # more than a hundred million times the rows: no number helps
        return None
    return max(MIN_ROWS, math.ceil(rows * (reach / distance) ** 2))


def rows_for_level(rows: int, *, p_value: float, level: float) -> int:
    """Return the rows at which a difference with this p-value would have one of `level` in 80 % of cases."""
    seen, needed = two_sided_z(1 - p_value), two_sided_z(1 - level)
    return math.ceil(rows * ((needed + NormalDist().inv_cdf(POWER)) / seen) ** 2)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for being several, in the order given (Holm 1979)."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = highest
    return adjusted
