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

    @property
    def reason(self) -> str | None:
        """Why there is no verdict, as a sentence; None where there is one."""
        if self.verdict != "inconclusive":
            return None
        units = self.groups if self.groups is not None else self.rows
        if units < MIN_ROWS:
            kind = "rows" if self.groups is None else "groups of rows"
            return f"There are {units} {kind}; below {MIN_ROWS} no verdict is given."
        if self.p_adjusted is not None and self.p_value < self.p_adjusted:
            return "The difference does not hold after the correction for several comparisons, or is too uncertain."
        return "The interval reaches over the margin."


def verdict_of(low: float, high: float, margin: float, *, higher_is_better: bool = True) -> Verdict:
    """Return what an interval of a difference says, given the margin within which a difference does not matter."""
    if low > margin:
        return "better" if higher_is_better else "worse"
    if high < -margin:
        return "worse" if higher_is_better else "better"
    return "equivalent" if -margin < low and high < margin else "inconclusive"
