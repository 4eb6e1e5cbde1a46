"""Which model should answer? Quality against cost and latency, and the front that no other model beats."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from tunebridge.errors import EvaluationError
from tunebridge.evaluation.result import Estimate, Evaluation
from tunebridge.spec import SpecModel


class Candidate(SpecModel):
    """A model that might be chosen."""

    name: str
    identity: dict[str, str]
    quality: Estimate
    """Its score on the metric that decides."""
    usd_per_1000_requests: float | None = None
    latency_p50_seconds: float | None = None
    """None where it is not known: then it neither wins nor loses by it."""
    failures: int = 0
    is_on_front: bool = False
    """Whether no other candidate is at least as good in all that both are known for, and better in something."""


class Choice(SpecModel):
    """Candidates on the same rows, by the same metric."""

    fingerprint: str
    """Of the rows."""
    rows: int
    metric: str
    higher_is_better: bool = True
    candidates: tuple[Candidate, ...]


class _Worth(NamedTuple):
    """What is known of a candidate, each so that more is better."""

    quality: float
    cost: float | None
    latency: float | None


def choice(evaluations: Sequence[Evaluation]) -> Choice:
    """Return the models of some evaluations as candidates, the front marked.

    EvaluationError where they asked different rows or were decided by different metrics.
    """
    first = evaluations[0]
    for other in evaluations[1:]:
        _require_same(first, other)
    found = [_candidate(evaluation, model.name) for evaluation in evaluations for model in evaluation.models]
    candidates = {f"{c.name} {sorted(c.identity.items())}": c for c in found}  # one model may stand in several
    is_up = first.settings.higher_is_better
    front = front_of(list(candidates.values()), higher_is_better=is_up)
    return Choice(
        fingerprint=first.task.fingerprint,
        rows=first.task.rows,
        metric=first.settings.primary,
        higher_is_better=is_up,
        candidates=tuple(front),
    )


def front_of(candidates: Sequence[Candidate], *, higher_is_better: bool = True) -> list[Candidate]:
    """Return the candidates, those on the front marked, the best quality first."""
    worths = [_worth(candidate, higher_is_better) for candidate in candidates]
    marked = [
        candidate.model_copy(update={"is_on_front": not any(_beats(other, own) for other in worths)})
        for candidate, own in zip(candidates, worths, strict=True)
    ]
    return sorted(marked, key=lambda c: c.quality.mean, reverse=higher_is_better)


def read_evaluation(path: Path) -> Evaluation:
    """Return what `tunebridge evaluate --json` wrote."""
    try:
        return Evaluation.model_validate_json(path.read_bytes())
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read ({error.strerror}). Check its name.") from None
    except ValidationError:
        raise EvaluationError(
            f"{path} is no evaluation. Give what `tunebridge evaluate ... --json` wrote, or a job's id."
        ) from None


def _require_same(first: Evaluation, other: Evaluation) -> None:
    if first.task.fingerprint != other.task.fingerprint:
        raise EvaluationError(
            f"The evaluations asked different rows: {first.task.name} ({first.task.fingerprint[:19]}...) and "
            f"{other.task.name} ({other.task.fingerprint[:19]}...). Evaluate all models on the same rows."
        )
    if first.settings.primary != other.settings.primary:
        raise EvaluationError(
            f"The evaluations were decided by {first.settings.primary} and {other.settings.primary}. Evaluate all "
            f"models by the same metric."
        )


def _candidate(found: Evaluation, name: str) -> Candidate:
    model = found.model(name)
    cost = model.usd_per_1000_requests
    return Candidate(
        name=name,
        identity=model.identity,
        quality=model.scores[found.settings.primary],
        usd_per_1000_requests=None if cost is None else float(cost),
        latency_p50_seconds=model.latency_p50_seconds,
        failures=sum(model.failures.values()),
    )


def _worth(candidate: Candidate, higher_is_better: bool) -> _Worth:
    def less(value: float | None) -> float | None:
        return None if value is None else -value

    quality = candidate.quality.mean
    return _Worth(
        quality if higher_is_better else -quality,
        less(candidate.usd_per_1000_requests),
        less(candidate.latency_p50_seconds),
    )


def _beats(one: _Worth, other: _Worth) -> bool:
    """Whether one is at least as good in all that both are known for, and better in something."""
    known = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    return all(a >= b for a, b in known) and any(a > b for a, b in known)
