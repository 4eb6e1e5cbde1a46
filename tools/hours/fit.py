"""The fit itself: a search along each constant, pulled towards its physical guess; no source counts too much."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tunebridge.cost.constants import Constants, packaged_constants
from tunebridge.cost.workloads import Description, described_hours

Values = dict[tuple[str, str], float]
GUESSES: Values = {
    ("efficiency", "full"): 0.5,
    ("efficiency", "lora"): 0.4,
    ("efficiency", "qlora"): 0.38,
    ("pass_tokens", "full"): 150.0,
    ("pass_tokens", "lora"): 150.0,
    ("pass_tokens", "qlora"): 400.0,
    ("shape", "balance_exponent"): 0.5,
    ("shape", "attention"): 2.0,
    ("shape", "launch_seconds"): 0.05,
    ("shape", "link_share"): 0.2,
    ("shape", "offload"): 0.4,
}
"""What each constant would be by thought alone."""
START: Values = {(table, key): float(packaged_constants()[table][key]) for table, key in GUESSES}
PULL = 0.5
"""How much a factor of two away from the guess counts, beside an error by a factor of two."""
LEAST_STEP = 0.005
MOST_RUNS = 4
"""As many as a source counts at most."""


@dataclass(frozen=True)
class Run:
    """A published run."""

    workload: Description
    source: str
    split: str
    hours: float


def _read() -> list[Run]:
    document = json.loads((Path(__file__).parent / "runs.json").read_text(encoding="utf-8"))
    return [Run(Description.model_validate(row), row["source"], row["split"], row["hours"]) for row in document["runs"]]


RUNS = _read()


def overridden(values: Mapping[tuple[str, str], float]) -> Constants:
    """Return the packaged constants with some of them replaced."""
    tables = {key: dict(table) if isinstance(table, dict) else table for key, table in packaged_constants().items()}
    for (table, key), value in values.items():
        tables[table][key] = value
    return Constants(tables, {})


def predicted(run: Run, constants: Constants) -> tuple[float, float, float]:
    """Return low, likely and high hours."""
    found = described_hours(run.workload, constants)
    assert found.low is not None
    assert found.likely is not None
    assert found.high is not None
    return found.low, found.likely, found.high


def fitted(runs: list[Run]) -> Values:
    """Return the constants with the smallest loss; a source counts at most as much as four of its runs."""
    per_source = Counter(run.source for run in runs)
    weights = [min(1.0, MOST_RUNS**0.5 / math.sqrt(per_source[run.source])) for run in runs]

    def loss(values: Values) -> float:
        constants = overridden(values)
        errors = [
            math.log2(predicted(run, constants)[1] / run.hours) * weight
            for run, weight in zip(runs, weights, strict=True)
        ]
        errors += [math.log2(value / GUESSES[key]) * PULL for key, value in values.items()]
        return sum(2 * (math.sqrt(1 + error * error) - 1) for error in errors)

    values, step = dict(GUESSES), 0.3
    best = loss(values)
    while step >= LEAST_STEP:
        moved = False
        for key in values:
            for factor in (math.exp(step), math.exp(-step)):
                tried = {**values, key: values[key] * factor}
                if (found := loss(tried)) < best - 1e-9:
                    values, best, moved = tried, found, True
                    break
        step = step if moved else step / 2
    return values
