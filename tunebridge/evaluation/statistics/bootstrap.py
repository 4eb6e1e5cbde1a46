"""The studentised bootstrap of a mean, over rows or over groups of rows, in blocks of bounded memory."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunebridge.errors import MissingDependency
from tunebridge.evaluation.statistics.proportions import two_sided_p, two_sided_z

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[Any, np.dtype[np.float64]]

BLOCK_VALUES = 100_000
"""Drawn values that are held at once: below 1 MB, which stays in the cache."""
MAX_UNITS = 50_000
"""Units above which the resamples would only find the normal interval again, to a hundredth of its width."""
MIN_UNUSUAL = 10
"""Values off the most frequent one below which resamples say nothing about the spread."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval and the two-sided p-value of the mean being 0."""

    mean: float
    low: float
    high: float
    p_value: float


def load_numpy() -> Any:
    """Return numpy, or raise MissingDependency with the command that installs it."""
    try:
        import numpy
    except ImportError:
        raise MissingDependency("numpy", extra="eval") from None
    return numpy


def bootstrap_mean(
    totals: "Floats", sizes: "Floats", *, reach: float, confidence: float, resamples: int, seed: int
) -> Estimate:
    """Return the mean `sum(totals) / sum(sizes)` of values that come in independent units, with its interval.

    Each unit (a row, or a group of rows) has a total and a size. Units are drawn with replacement, and each
    resample's mean is measured in its own standard errors (Efron 1979, bootstrap-t): unlike percentiles, these
    intervals cover at small samples and skewed scores. Where nearly all units are equal the resamples know too little
    of the spread; then a value as far above the mean as the farthest is from it, and one as far below, are added and
    the normal interval is taken, as the adjusted intervals of shares do (Agresti and Min 2005). Where all units are
    equal, these two lie `reach` away.
    """
    unusual = _unusual(totals, sizes)
    if unusual < MIN_UNUSUAL:
        return _adjusted(totals, sizes, None if unusual else reach, confidence)
    numpy = load_numpy()
    mean, error, rest = _mean_and_error(totals, sizes)
    if len(totals) > MAX_UNITS:
        return _normal(mean, error, confidence)
    drawn = numpy.sort(_studentised(rest, sizes, resamples=resamples, seed=seed))
    outside = max(1, math.floor((1 - confidence) / 2 * (resamples + 1)))
    low, high = mean - drawn[-outside] * error, mean - drawn[outside - 1] * error
    seen = mean / error
    above = resamples - numpy.searchsorted(drawn, seen, "left")
    below = numpy.searchsorted(drawn, seen, "right")
    p_value = min(1.0, 2 * (1 + min(above, below)) / (resamples + 1))
    return Estimate(mean, float(low), float(high), float(p_value))


def _unusual(totals: "Floats", sizes: "Floats") -> int:
    """Return how many units differ from the most frequent one by more than rounding does."""
    numpy = load_numpy()
    values = totals / sizes
    _, counts = numpy.unique((values / (abs(values).max() or 1)).round(12), return_counts=True)
    return int(len(totals) - counts.max())


def _mean_and_error(totals: "Floats", sizes: "Floats") -> "tuple[float, float, Floats]":
    """Return the ratio's mean, its standard error by linearisation, and each unit's distance from the mean."""
    units, rows = len(totals), float(sizes.sum())
    mean = float(totals.sum() / rows)
    rest = totals - mean * sizes
    return mean, math.sqrt(float((rest * rest).sum()) * units / (units - 1)) / rows, rest


def _adjusted(totals: "Floats", sizes: "Floats", reach: float | None, confidence: float) -> Estimate:
    numpy = load_numpy()
    typical, mean = float(sizes.mean()), float(totals.sum() / sizes.sum())
    far = float(abs(totals / sizes - mean).max()) if reach is None else reach
    added = [typical * (mean + far), typical * (mean - far)]
    _, error, _ = _mean_and_error(numpy.append(totals, added), numpy.append(sizes, [typical, typical]))
    return _normal(mean, error, confidence)


def _normal(mean: float, error: float, confidence: float) -> Estimate:
    half = two_sided_z(confidence) * error
    return Estimate(mean, mean - half, mean + half, two_sided_p(mean / error) if error else 1.0)


def _studentised(rest: "Floats", sizes: "Floats", *, resamples: int, seed: int) -> "Floats":
    """Return each resample's mean of values around 0, in its own standard errors."""
    numpy = load_numpy()
    units, equal = len(rest), bool((sizes == sizes[0]).all())
    source = numpy.random.Generator(numpy.random.SFC64(seed))
    drawn: Floats = numpy.empty(resamples)
    block = max(1, BLOCK_VALUES // units)
    for start in range(0, resamples, block):
        count = min(block, resamples - start)
        chosen = source.integers(0, units, (count, units))  # int64, which `take` needs not convert
        values = rest.take(chosen)
        drawn[start : start + count] = _ratios(values, None if equal else sizes.take(chosen))
    return drawn


def _ratios(values: "Floats", sizes: "Floats | None") -> "Floats":
    """Return mean over standard error of each line of values; the lines' sizes cancel where they are equal."""
    numpy = load_numpy()
    units, total = values.shape[1], values.sum(axis=1)
    squares = numpy.einsum("ij,ij->i", values, values)
    if sizes is None:
        spread = squares - total * total / units
    else:
        mean = total / sizes.sum(axis=1)
        crossed, sized = (numpy.einsum("ij,ij->i", other, sizes) for other in (values, sizes))
        spread = squares - 2 * mean * crossed + mean * mean * sized
    with numpy.errstate(divide="ignore", invalid="ignore"):
        ratio: Floats = total / numpy.sqrt(numpy.maximum(spread, 0) * units / (units - 1))
    ratio[numpy.isnan(ratio)] = 0.0
    return ratio
