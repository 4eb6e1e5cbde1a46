"""Did it help? Paired comparisons of two models' scores on the same rows, and planning how many rows that takes."""

from tunebridge.evaluation.statistics.compare import adjust, compare
from tunebridge.evaluation.statistics.difference import MIN_ROWS, Difference, Verdict
from tunebridge.evaluation.statistics.intervals import Settings, interval
from tunebridge.evaluation.statistics.planning import expected_half_width, holm, rows_needed

__all__ = [
    "MIN_ROWS",
    "Difference",
    "Settings",
    "Verdict",
    "adjust",
    "compare",
    "expected_half_width",
    "holm",
    "interval",
    "rows_needed",
]
