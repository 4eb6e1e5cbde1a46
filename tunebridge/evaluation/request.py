"""What a user asks of an evaluation, in words: files, names and settings."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from tunebridge.backend import GenerationParameters
from tunebridge.errors import EvaluationError
from tunebridge.evaluation.metrics import Metric, metric
from tunebridge.evaluation.scoring import Price
from tunebridge.spec import SpecModel

BASE, TUNED = "base", "tuned"


class Request(SpecModel):
    """Who is asked what, and how the answers are compared."""

    data: Path
    """File of the rows; the last answer of each, or its `reference`, is right."""
    format: str | None = None
    job: str | None = None
    """Compare a job's tuned model, as `tuned`, with its base model, as `base`."""
    models: dict[str, str] = {}
    """By name: a job's id, a folder, BASE+ADAPTER, a hub id, BACKEND:MODEL, https://HOST/v1#MODEL, FILE.py:FUNCTION."""
    recorded: dict[str, Path] = {}
    """By name: a file of a model's answers, `{"id", "output"}` a line."""
    metrics: tuple[str, ...] = ("exact_match",)
    """The first one decides; options follow the name: `exact_match,normalise=squad`."""
    baseline: str | None = None
    """The model that the others are compared with; unset: `base`, or the first."""
    margin: Annotated[float, Field(ge=0)] = 0.0
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    group: str | None = None
    seed: int = 0
    resamples: Annotated[int, Field(ge=100)] = 10_000
    schema_file: Path | None = None
    judge: str | None = None
    """A model that judges the answers, written as `models` are."""
    rubric: str = ""
    prices: dict[str, str] = {}
    """By name: US dollars per million tokens, `INPUT,OUTPUT`."""
    train: tuple[Path, ...] = ()
    """Training rows of models that are no jobs of this store."""
    parameters: GenerationParameters = GenerationParameters()

    @property
    def names(self) -> list[str]:
        """The models' names, in the order in which they are shown."""
        return [*((BASE, TUNED) if self.job else ()), *self.models, *self.recorded]


def parse_metric(text: str) -> Metric:
    """Return the metric that a text such as `exact_match,normalise=squad` names."""
    name, *options = text.split(",")
    found: dict[str, Any] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise EvaluationError(f"{option!r} in --metric {text} is no OPTION=VALUE. Write NAME,OPTION=VALUE.")
        found[key.strip()] = {"true": True, "false": False}.get(value.strip(), _number(value.strip()))
    return metric(name.strip(), **found)


def parse_price(text: str) -> Price:
    """Return the price that `INPUT,OUTPUT` names."""
    try:
        asked, answered = (Decimal(part) for part in text.split(","))
        if asked < 0 or answered < 0 or not (asked.is_finite() and answered.is_finite()):
            raise ValueError
    except (ValueError, InvalidOperation):
        raise EvaluationError(f"{text!r} is no price. Write dollars per million tokens: INPUT,OUTPUT.") from None
    return Price(asked, answered)


def pairs(option: str, texts: list[str]) -> Mapping[str, str]:
    """Return NAME=VALUE texts of an option by name; EvaluationError where a name is missing or there twice."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise EvaluationError(f"{text!r} is not what {option} takes. Write {option} NAME=VALUE.")
        if name in found:
            raise EvaluationError(f"{option} names {name!r} twice. Give each model a name of its own.")
        found[name] = value
    return found


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
