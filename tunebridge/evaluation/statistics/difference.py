"""What a comparison found, and the verdict that follows from its interval."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["better", "worse", "equivalent", "inconclusive"]
MIN_ROWS = 30
"""Independent rows (or groups of rows) below which no verdict is given."""


@dataclass(frozen=True)
class Difference:
    """How the mean score of one model differs from the base's on the same rows."""

    mean_base: float
    mean_other: float
    difference: float
    """`mean_other - mean_base`."""
    low: float
    high: float
    """Interval of the difference at the confidence that was asked for."""
    p_value: float
    """Two-sided, for no difference at all; at most 1 - confidence exactly where the interval leaves out 0."""
    verdict: Verdict
    rows: int
    rows_needed: int | None
    """Rows at which a verdict would be reached in 80 % of cases if the true difference is the one seen; None where
    there is a verdict, or where no number would do because the difference lies on the margin."""
    p_exact: float | None = None
    """Exact McNemar's p-value; None where scores are not binary or rows come in groups."""
    p_adjusted: float | None = None
    """After Holm's correction over several comparisons."""
    groups: int | None = None
    """Groups of rows that were resampled as a whole."""
    reason: str | None = None
    """Why there is no verdict, as a sentence; None where there is one."""


def verdict_of(low: float, high: float, margin: float, *, higher_is_better: bool = True) -> Verdict:
    """Return what an interval of a difference says, given the margin within which a difference does not matter."""
    if low > margin:
        return "better" if higher_is_better else "worse"
    if high < -margin:
        return "worse" if higher_is_better else "better"
    return "equivalent" if -margin < low and high < margin else "inconclusive"
