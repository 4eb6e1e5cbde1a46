"""What an evaluation found: the document that is printed, written and compared; its keys are stable."""

from decimal import Decimal
from typing import Any, Literal

from pydantic import AwareDatetime

from tunebridge.backend import GenerationParameters
from tunebridge.spec import SpecModel

Verdict = Literal["better", "worse", "equivalent", "inconclusive"]


class TaskResult(SpecModel):
    """The rows that every model was asked."""

    name: str
    """The file."""
    rows: int
    fingerprint: str
    """Of the canonical rows; only evaluations of the same one can be compared."""


class Estimate(SpecModel):
    """A mean score with its interval."""

    mean: float
    low: float
    high: float


class ModelResult(SpecModel):
    """What one model did."""

    name: str
    identity: dict[str, str]
    """What the model is: a job, an endpoint, a folder, a function or a recorded file."""
    scores: dict[str, Estimate]
    """By metric; answers that failed count as the worst score."""
    corpus: dict[str, dict[str, Any]] = {}
    """By metric: what it says of all answers together, such as a report by label and the confusion matrix."""
    failures: dict[Literal["error", "refusal", "timeout", "cut"], int] = {}
    """Answers that failed, by kind."""
    latency_p50_seconds: float | None = None
    latency_p95_seconds: float | None = None
    """Of single requests; None where rows are answered together."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    """Of all rows, where the model says so."""
    usd_per_1000_requests: Decimal | None = None
    """None where no price is known, which is not the same as nothing."""
    asked_rows: int = 0
    """Rows that were asked now; other answers had been kept or recorded."""
    asked_seconds: float = 0.0


class Comparison(SpecModel):
    """How one model's score differs from the baseline's, on the same rows."""

    model: str
    metric: str
    is_primary: bool
    difference: float
    """The model's mean score less the baseline's."""
    low: float
    high: float
    p_value: float
    p_exact: float | None = None
    """McNemar's exact test, of binary metrics."""
    p_adjusted: float | None = None
    """After Holm's correction, where several comparisons were made together."""
    verdict: Verdict
    reason: str | None = None
    """Why there is no verdict."""
    rows: int
    rows_needed: int | None = None
    """Rows at which a verdict is to be expected, where there is none yet."""


class SliceResult(SpecModel):
    """The primary metric on the rows that share a value of their metadata."""

    key: str
    value: str
    rows: int
    means: dict[str, float]
    """By model."""
    differences: dict[str, Estimate]
    """To the baseline, by model; several slices are looked at, so that one that stands out may be chance."""


class JudgeResult(SpecModel):
    """How far the judge can be relied on, for one model."""

    model: str
    pairs: int
    unreadable: int
    agreeing: float
    """Share of the pairs on which both orders of the answers gave the same verdict."""
    first_preferred: float
    """Share of the verdicts that went to the answer that was read first; 0.5 is a judge without a habit."""


class Settings(SpecModel):
    """How it was evaluated; with the same rows and answers it gives the same result again."""

    baseline: str
    primary: str
    """The metric that decides."""
    higher_is_better: bool = True
    """Of that metric."""
    metrics: dict[str, dict[str, Any]]
    """By name, with the options that were asked for."""
    margin: float
    confidence: float
    group: str | None
    seed: int
    resamples: int
    parameters: GenerationParameters
    versions: dict[str, str]


class Evaluation(SpecModel):
    """The result of an evaluation."""

    format: Literal["tunebridge.evaluation/1"] = "tunebridge.evaluation/1"
    task: TaskResult
    settings: Settings
    expected_half_width: float
    """Half the interval's width that was to be expected before any model was asked."""
    verdicts: dict[str, Verdict]
    """By model other than the baseline: the primary metric's verdict."""
    models: tuple[ModelResult, ...]
    comparisons: tuple[Comparison, ...]
    slices: tuple[SliceResult, ...] = ()
    judges: tuple[JudgeResult, ...] = ()
    created_at: AwareDatetime

    def model(self, name: str) -> ModelResult:
        """Return a model's result by its name."""
        return next(found for found in self.models if found.name == name)

    @property
    def primary(self) -> tuple[Comparison, ...]:
        """The comparisons that decide."""
        return tuple(found for found in self.comparisons if found.is_primary)
