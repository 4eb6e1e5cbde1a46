"""An evaluation from beginning to end: ask, score, compare."""

import platform
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from tunebridge.backend import GenerationParameters
from tunebridge.errors import EvaluationError
from tunebridge.evaluation import judge as judging
from tunebridge.evaluation.answers import AnswerBook
from tunebridge.evaluation.judge import Bench, Judge
from tunebridge.evaluation.metrics import Metric
from tunebridge.evaluation.result import (
    Comparison,
    Estimate,
    Evaluation,
    JudgeResult,
    ModelResult,
    Settings,
    TaskResult,
)
from tunebridge.evaluation.runner import Collected, Contender, Progress, collect
from tunebridge.evaluation.scoring import Price, Scored, quantile, score, settle, try_out
from tunebridge.evaluation.slices import slices_of
from tunebridge.evaluation.statistics import Difference, adjust, compare, expected_half_width, interval
from tunebridge.evaluation.task import EvalTask
from tunebridge.job import now


@dataclass(frozen=True)
class Plan:
    """Who is compared with whom, by what; the first metric decides."""

    task: EvalTask
    contenders: Sequence[Contender]
    metrics: Sequence[Metric]
    baseline: str
    margin: float = 0.0
    """Differences of the primary metric up to this much do not matter."""
    confidence: float = 0.95
    group: str | None = None
    """Key of the metadata that rows which belong together share."""
    seed: int = 0
    resamples: int = 10_000
    parameters: GenerationParameters = field(default_factory=GenerationParameters)
    prices: Mapping[str, Price] = field(default_factory=dict)
    """By the contenders' names."""
    judge: Judge | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be compared."""
        names = [contender.name for contender in self.contenders]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise EvaluationError(f"Two models are called {twice[0]!r}. Give each a name of its own.")
        if self.baseline not in names:
            raise EvaluationError(f"There is no model {self.baseline!r}. Choose one of {', '.join(names)}.")
        _ = self.groups
        if unknown := sorted(set(self.prices) - set(names)):
            raise EvaluationError(f"--price names {unknown[0]!r}, which is no model. Choose one of {', '.join(names)}.")

    @property
    def primary(self) -> Metric:
        """The metric that decides."""
        return self.metrics[0]

    @property
    def groups(self) -> list[Hashable] | None:
        """Each row's group; EvaluationError where a row has none."""
        if self.group is None:
            return None
        without = [row.id for row in self.task.rows if self.group not in row.metadata]
        if without:
            raise EvaluationError(
                f"{len(without)} rows have no {self.group!r} in their metadata, the first is {without[0]!r}. Add it."
            )
        return [str(row.metadata[self.group]) for row in self.task.rows]

    def expected_half_width(self) -> float:
        """Return how far the primary metric's interval will reach to each side, before anything is asked."""
        units = len(set(self.groups)) if self.groups else len(self.task)
        return expected_half_width(units, self.primary.is_binary, confidence=self.confidence)


@dataclass(frozen=True)
class Evaluated:
    """A result with what it was made from, for those who look at single rows."""

    result: Evaluation
    plan: Plan
    books: Mapping[str, AnswerBook]
    scored: Mapping[str, Scored]


def evaluate(plan: Plan, folder: Path, *, is_fresh: bool = False, progress: Progress | None = None) -> Evaluated:
    """Ask every model every row, score the answers and compare them with the baseline's.

    Answers are kept below `folder` as they come: see `collect`.
    """
    try_out(plan.task, plan.metrics)
    collected: dict[str, Collected] = {}
    for contender in plan.contenders:
        collected[contender.name] = collect(
            contender, plan.task, plan.parameters, folder, is_fresh=is_fresh, progress=progress
        )
    scored = {name: score(plan.task, found.book, plan.metrics) for name, found in collected.items()}
    settle(list(scored.values()), plan.metrics)
    judged, judges = _judged(plan, {name: found.book for name, found in collected.items()}, scored, folder, progress)
    result = _result(plan, collected, scored, [*_comparisons(plan, scored), *judged], judges)
    return Evaluated(result, plan, {name: found.book for name, found in collected.items()}, scored)


def _comparisons(plan: Plan, scored: Mapping[str, Scored]) -> list[Comparison]:
    """Return each metric's comparisons; the primary metric's are corrected among themselves, the others together."""
    found: list[Comparison] = []
    names = [name for name in scored if name != plan.baseline]
    rated = [judging.RUBRIC] if judging.RUBRIC in scored[plan.baseline].scores else []
    for metrics in ([plan.primary.name], [*(metric.name for metric in plan.metrics[1:]), *rated]):
        pairs = [(metric, name) for metric in metrics for name in names]
        differences = [_difference(plan, scored, metric, name) for metric, name in pairs]
        corrected = adjust(differences, plan.confidence) if len(differences) > 1 else differences
        for (metric, name), difference in zip(pairs, corrected, strict=True):
            found.append(_comparison(metric, name, difference, is_primary=metric == plan.primary.name))
    return found


def _difference(plan: Plan, scored: Mapping[str, Scored], name: str, other: str) -> Difference:
    metric = next((metric for metric in plan.metrics if metric.name == name), None)
    return compare(
        scored[plan.baseline].column(name),
        scored[other].column(name),
        is_binary=metric.is_binary if metric else False,
        margin=plan.margin if name == plan.primary.name else 0.0,
        groups=plan.groups,
        confidence=plan.confidence,
        seed=plan.seed,
        resamples=plan.resamples,
        higher_is_better=metric.higher_is_better if metric else True,
    )


def _comparison(metric: str, model: str, found: Difference, *, is_primary: bool) -> Comparison:
    known = {key: getattr(found, key) for key in Comparison.model_fields if hasattr(found, key)}
    return Comparison.model_validate({**known, "metric": metric, "model": model, "is_primary": is_primary})


def _judged(
    plan: Plan,
    books: Mapping[str, AnswerBook],
    scored: Mapping[str, Scored],
    folder: Path,
    progress: Progress | None,
) -> tuple[list[Comparison], list[JudgeResult]]:
    """Let the judge compare every model's answers with the baseline's, and rate them where there is a rubric."""
    if plan.judge is None:
        return [], []
    bench = Bench(plan.judge, plan.task, folder, progress)
    if plan.judge.rubric:
        for name, book in books.items():
            scored[name].scores[judging.RUBRIC] = bench.ratings(book)
    comparisons, judges = [], []
    for name in (name for name in books if name != plan.baseline):
        pairs, agreement = bench.pairs(books[plan.baseline], books[name])
        base, other = (list(column) for column in zip(*(pair.scores for pair in pairs), strict=True))
        difference = compare(
            base, other, is_binary=False, groups=plan.groups, confidence=plan.confidence, seed=plan.seed,
            resamples=plan.resamples,
        )  # fmt: skip
        comparisons.append(_comparison(judging.PAIRWISE, name, difference, is_primary=False))
        judges.append(JudgeResult.model_validate({"model": name, **vars(agreement)}))
    return comparisons, judges


def _result(
    plan: Plan,
    collected: Mapping[str, Collected],
    scored: Mapping[str, Scored],
    comparisons: Sequence[Comparison],
    judges: Sequence[JudgeResult],
) -> Evaluation:
    return Evaluation(
        task=TaskResult(name=plan.task.name, rows=len(plan.task), fingerprint=plan.task.fingerprint),
        settings=_settings(plan),
        expected_half_width=plan.expected_half_width(),
        verdicts={found.model: found.verdict for found in comparisons if found.is_primary},
        models=tuple(_model(plan, each, collected[each.name], scored[each.name]) for each in plan.contenders),
        comparisons=tuple(comparisons),
        slices=slices_of(
            plan.task,
            {name: found.scores[plan.primary.name] for name, found in scored.items()},
            baseline=plan.baseline,
            confidence=plan.confidence,
            is_binary=plan.primary.is_binary,
        ),
        judges=tuple(judges),
        created_at=now(),
    )


def _settings(plan: Plan) -> Settings:
    return Settings(
        baseline=plan.baseline,
        primary=plan.primary.name,
        higher_is_better=plan.primary.higher_is_better,
        metrics={metric.name: dict(metric.options) for metric in plan.metrics},
        margin=plan.margin,
        confidence=plan.confidence,
        group=plan.group,
        seed=plan.seed,
        resamples=plan.resamples,
        parameters=plan.parameters,
        versions={"tunebridge": version("tunebridge"), "python": platform.python_version()},
    )


def _model(plan: Plan, contender: Contender, found: Collected, scored: Scored) -> ModelResult:
    return ModelResult(
        name=contender.name,
        identity=dict(contender.identity),
        scores={name: _estimate(plan, name, scored.column(name)) for name in scored.scores},
        corpus=scored.corpus,
        failures=dict(scored.failure_counts),
        latency_p50_seconds=quantile(scored.latencies, 0.5),
        latency_p95_seconds=quantile(scored.latencies, 0.95),
        input_tokens=scored.input_tokens,
        output_tokens=scored.output_tokens,
        usd_per_1000_requests=scored.usd_per_1000_requests(plan.prices.get(contender.name)),
        asked_rows=found.asked,
        asked_seconds=round(found.seconds, 3),
    )


def _estimate(plan: Plan, name: str, column: Sequence[float]) -> Estimate:
    metric = next((metric for metric in plan.metrics if metric.name == name), None)
    low, high = interval(
        column, is_binary=metric.is_binary if metric else False, groups=plan.groups, confidence=plan.confidence,
        seed=plan.seed, resamples=plan.resamples,
    )  # fmt: skip
    return Estimate(mean=sum(column) / len(column), low=low, high=high)
