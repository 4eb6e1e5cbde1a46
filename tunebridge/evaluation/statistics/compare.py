"""Comparing two models' scores on the same rows."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Unpack

from tunebridge.errors import EvaluationError
from tunebridge.evaluation.statistics.bootstrap import Estimate
from tunebridge.evaluation.statistics.difference import MIN_ROWS, Difference, Verdict, verdict_of
from tunebridge.evaluation.statistics.intervals import Settings, estimate, require_known
from tunebridge.evaluation.statistics.planning import holm, rows_for_a_verdict, rows_for_level
from tunebridge.evaluation.statistics.proportions import exact_mcnemar, mcnemar, tango_interval, two_sided_z


def compare(
    base: Sequence[float],
    other: Sequence[float],
    *,
    is_binary: bool,
    margin: float = 0.0,
    groups: Sequence[Hashable] | None = None,
    **settings: Unpack[Settings],
) -> Difference:
    """Return how `other` differs from `base`, whose scores are of the same rows in the same order.

    `groups` holds a key per row; rows of one key (the turns of a conversation, the questions on a document) are
    resampled together. Binary scores are 0 and 1: their interval is Tango's, which agrees with McNemar's test;
    all others' is by bootstrap.
    """
    require_known(settings)
    _require_pairs(base, other, is_binary=is_binary)
    if margin < 0:
        raise EvaluationError(f"The margin is {margin}. Give the difference that does not matter, 0 or more.")
    paired = is_binary and groups is None
    found = _proportions(base, other, settings) if paired else _means(base, other, groups, settings)
    units = len(set(groups)) if groups is not None else len(base)
    verdict = verdict_of(found.low, found.high, margin, higher_is_better=settings.get("higher_is_better", True))
    mean_base, mean_other = sum(base) / len(base), sum(other) / len(other)
    difference = Difference(
        mean_base=mean_base,
        mean_other=mean_other,
        difference=found.mean,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        verdict=verdict if units >= MIN_ROWS else "inconclusive",
        reason=_reason(verdict, units, "rows" if groups is None else "groups of rows"),
        rows=len(base),
        rows_needed=None,
        p_exact=exact_mcnemar(*_discordant(base, other)) if paired else None,
        groups=units if groups is not None else None,
    )
    return replace(difference, rows_needed=_rows_needed(difference, units, margin, settings.get("confidence", 0.95)))


def adjust(differences: Sequence[Difference], confidence: float = 0.95) -> list[Difference]:
    """Return comparisons that were made together, with p-values by Holm; what does not hold is inconclusive."""
    adjusted = holm([difference.p_value for difference in differences])
    return [_adjusted(d, p_value, 1 - confidence) for d, p_value in zip(differences, adjusted, strict=True)]


def _adjusted(found: Difference, p_adjusted: float, level: float) -> Difference:
    if found.verdict not in ("better", "worse") or p_adjusted <= level:
        return replace(found, p_adjusted=p_adjusted)
    return replace(
        found,
        p_adjusted=p_adjusted,
        verdict="inconclusive",
        reason="The difference does not hold after the correction for several comparisons.",
        rows_needed=rows_for_level(found.rows, p_value=found.p_value, level=level * found.p_value / p_adjusted),
    )


def _require_pairs(base: Sequence[float], other: Sequence[float], *, is_binary: bool) -> None:
    if len(base) == 0 or len(base) != len(other):
        raise EvaluationError(
            f"The models have {len(base)} and {len(other)} scores. Give both models' scores of the same rows."
        )
    if not all(map(math.isfinite, (*base, *other))):
        raise EvaluationError("A score is not a finite number. Mend the metric.")
    if is_binary and not {*base, *other} <= {0.0, 1.0}:
        raise EvaluationError("A binary metric gave a score other than 0 and 1. Compare it with is_binary=False.")


def _reason(verdict: Verdict, units: int, kind: str) -> str | None:
    if units < MIN_ROWS:
        return f"There are {units} {kind}; below {MIN_ROWS} no verdict is given."
    return "The interval reaches over the margin." if verdict == "inconclusive" else None


def _discordant(base: Sequence[float], other: Sequence[float]) -> tuple[int, int]:
    """Return the rows that only the other model got right, and those that only the base did."""
    return sum(b < o for b, o in zip(base, other, strict=True)), sum(b > o for b, o in zip(base, other, strict=True))


def _proportions(base: Sequence[float], other: Sequence[float], settings: Settings) -> Estimate:
    gained, lost = _discordant(base, other)
    low, high = tango_interval(gained, lost, len(base), two_sided_z(settings.get("confidence", 0.95)))
    return Estimate((gained - lost) / len(base), low, high, mcnemar(gained, lost))


def _means(
    base: Sequence[float], other: Sequence[float], groups: Sequence[Hashable] | None, settings: Settings
) -> Estimate:
    differences = [o - b for b, o in zip(base, other, strict=True)]
    lowest, highest = min(*base, *other), max(*base, *other)
    reach = (highest - lowest) or abs(highest) or 1.0  # how far apart two scores might have been
    return estimate(differences, groups, reach=reach, settings=settings)


def _rows_needed(found: Difference, units: int, margin: float, confidence: float) -> int | None:
    """Return the rows for a verdict, if there is none yet; rows that come in groups count as rows of such groups."""
    if found.verdict != "inconclusive":
        return None
    half_width, distance = (found.high - found.low) / 2, abs(abs(found.difference) - margin)
    needed = rows_for_a_verdict(units, half_width=half_width, distance=distance, confidence=confidence)
    return None if needed is None else max(found.rows, round(needed * found.rows / units))
