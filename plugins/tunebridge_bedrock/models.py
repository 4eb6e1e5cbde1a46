"""What each of Bedrock's models takes: dated rows of `models.toml`."""

import tomllib
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Model:
    """A family of models that can be customized."""

    part: str
    """Part of the ids of its models."""
    shape: str
    """Name of the target whose shape its rows take."""
    source_url: str
    as_of: date
    deployable: bool = False
    """Whether a tuned model can be deployed to answer on demand, billed by token."""
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Hyperparameter -> smallest and largest value; empty where no document was found."""


def model_for(name: str) -> Model:
    """Return what is known of a model by its id or ARN."""
    return next(row for row in _models() if row.part in name)


@cache
def _models() -> list[Model]:
    table = tomllib.loads(files("tunebridge_bedrock").joinpath("models.toml").read_text(encoding="utf-8"))
    return [Model(**row) for row in table["model"]]
