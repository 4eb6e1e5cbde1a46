"""What finished jobs teach the model of time: measured hours over predicted ones, for each machine."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tunebridge.spec import SpecModel

FEW_JOBS_SPREAD = 1.5
"""Bounds around the median while a machine has finished only a few jobs."""
MANY_JOBS = 5


class Finished(NamedTuple):
    """One finished job, beside what was predicted for it."""

    machine: str
    """Backend and machine, such as `sagemaker/ml.g5.xlarge`."""
    measured_hours: float
    predicted_hours: float


class Calibrated(SpecModel):
    """How much longer than predicted jobs take on one machine, as factors."""

    machine: str
    jobs: int
    low: float
    likely: float
    high: float


def calibrated(finished: Iterable[Finished]) -> list[Calibrated]:
    """Return the factors of each machine: the median, with bounds that hold what was seen."""
    ratios: dict[str, list[float]] = {}
    for job in finished:
        if job.predicted_hours > 0 and job.measured_hours > 0:
            ratios.setdefault(job.machine, []).append(job.measured_hours / job.predicted_hours)
    return [_factors(machine, seen) for machine, seen in sorted(ratios.items())]


def _factors(machine: str, seen: Sequence[float]) -> Calibrated:
    likely = median(seen)
    low, high = min(seen), max(seen)
    if len(seen) < MANY_JOBS:
        low, high = min(low, likely / FEW_JOBS_SPREAD), max(high, likely * FEW_JOBS_SPREAD)
    return Calibrated(machine=machine, jobs=len(seen), low=low, likely=likely, high=high)


def write_calibration(path: Path, found: Sequence[Calibrated]) -> None:
    """Write the factors as a file of constants, which lies over the packaged ones."""
    lines = [
        "# Written by `tunebridge calibrate` from finished jobs: [low, likely, high] of measured over predicted time."
    ]
    lines += [
        "[calibrated]",
        *(f'"{row.machine}" = [{row.low:.4g}, {row.likely:.4g}, {row.high:.4g}]' for row in found),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
