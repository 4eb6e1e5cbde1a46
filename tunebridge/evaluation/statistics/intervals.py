"""The interval of one model's mean score, and the settings that all intervals share."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from tunebridge.errors import EvaluationError
from tunebridge.evaluation.names import nearest
from tunebridge.evaluation.statistics.bootstrap import Estimate, bootstrap_mean, load_numpy
from tunebridge.evaluation.statistics.proportions import two_sided_z, wilson_interval

if TYPE_CHECKING:
    from tunebridge.evaluation.statistics.bootstrap import Floats


class Settings(TypedDict, total=False):
    """How intervals are made; each may be left out."""

    confidence: float
    """Share of samples whose interval covers the truth; 0.95 if unset."""
    seed: int
    """Of the resamples; 0 if unset. Equal seeds give equal intervals."""
    resamples: int
    """10,000 if unset."""
    higher_is_better: bool
    """False for errors, latency or perplexity; true if unset."""


def require_known(settings: Settings) -> None:
    """Raise EvaluationError for a setting that does not exist or makes no sense."""
    unknown = sorted(settings.keys() - Settings.__annotations__.keys())
    if unknown:
        raise EvaluationError(nearest("setting", unknown[0], Settings.__annotations__))
    if not 0.5 <= settings.get("confidence", 0.95) < 1:
        raise EvaluationError(f"The confidence is {settings['confidence']}. Give a share from 0.5 to below 1.")
    if settings.get("resamples", 10_000) < 100:
        raise EvaluationError(f"There are {settings['resamples']} resamples. Draw at least 100.")


@dataclass(frozen=True)
class Units:
    """Values added up by independent unit: a row, or a group of rows that belong together."""

    totals: "Floats"
    sizes: "Floats"


def interval(
    scores: Sequence[float],
    *,
    is_binary: bool = False,
    groups: Sequence[Hashable] | None = None,
    **settings: Unpack[Settings],
) -> tuple[float, float]:
    """Return the interval of the mean of scores: Wilson's for binary scores of single rows, else by bootstrap.

    Other scores that are all equal have an interval of no width: how they would differ is not known.
    """
    require_known(settings)
    if len(scores) == 0:
        raise EvaluationError("There are no scores. Give at least one row.")
    if is_binary and groups is None:
        z = two_sided_z(settings.get("confidence", 0.95))
        return wilson_interval(sum(scores) / len(scores), len(scores), z)
    found = estimate(scores, groups, reach=0.0, settings=settings)
    return found.low, found.high


def estimate(
    values: Sequence[float], groups: Sequence[Hashable] | None, *, reach: float, settings: Settings
) -> Estimate:
    """Return the mean of values with its bootstrap interval; `reach` is how far a value may lie from the others."""
    units = gather(values, groups)
    return bootstrap_mean(
        units.totals,
        units.sizes,
        reach=reach,
        confidence=settings.get("confidence", 0.95),
        resamples=settings.get("resamples", 10_000),
        seed=settings.get("seed", 0),
    )


def gather(values: Sequence[float], groups: Sequence[Hashable] | None) -> Units:
    """Return values added up by group, groups in the order in which they first appear."""
    numpy: Any = load_numpy()
    column = numpy.asarray(values, dtype=float)
    if groups is None:
        return Units(column, numpy.ones(len(column)))
    if len(groups) != len(column):
        raise EvaluationError(f"There are {len(column)} rows and {len(groups)} group keys. Give one key per row.")
    number: dict[Hashable, int] = {}
    places = numpy.asarray([number.setdefault(key, len(number)) for key in groups])
    return Units(numpy.bincount(places, weights=column), numpy.bincount(places).astype(float))
