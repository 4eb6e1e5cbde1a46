"""`python -m tools.hours`: fit the constants, then print how far off they are on what they were not fitted to."""

import math
from collections import Counter

from tools.hours.fit import RUNS, START, Run, fitted, overridden, predicted


def main() -> None:
    """Print the fitted constants, and the errors of the packaged ones and of fits without each source."""
    calibration = [run for run in RUNS if run.split == "calibration"]
    held_out = [run for run in RUNS if run.split == "held out"]
    found = fitted(calibration)
    print("fitted:", ", ".join(f"{key} {value:.3g}" for (_, key), value in found.items()))
    show("packaged constants, runs that they were fitted to", calibration, START)
    show("packaged constants, held-out runs", held_out, START)
    left_out: list[tuple[Run, float, bool]] = []
    for source in sorted(Counter(run.source for run in calibration)):
        others = fitted([run for run in calibration if run.source != source])
        errors = judged([run for run in calibration if run.source == source], others)
        left_out += errors
        print(f"  without {source}: {summary(errors)}")
    print(f"leave one source out: {summary(left_out)}")


def show(title: str, runs: list[Run], values: dict[tuple[str, str], float]) -> None:
    """Print one summary, and the runs outside their bounds."""
    errors = judged(runs, values)
    print(f"{title}: {summary(errors)}")
    for run, error, inside in errors:
        if not inside:
            print(f"    outside: {run.workload.id} ({error:+.2f})")


def judged(runs: list[Run], values: dict[tuple[str, str], float]) -> list[tuple[Run, float, bool]]:
    """Return for each run log2(likely / actual) and whether the actual hours lie within the bounds."""
    constants = overridden(values)
    found = []
    for run in runs:
        low, likely, high = predicted(run, constants)
        found.append((run, math.log2(likely / run.hours), low <= run.hours <= high))
    return found


def summary(errors: list[tuple[Run, float, bool]]) -> str:
    """Return how many runs lie inside and how far off the likely hours are."""
    sizes = sorted(abs(error) for _, error, _ in errors)
    inside = sum(is_inside for _, _, is_inside in errors)
    middle = sizes[len(sizes) // 2]
    share = inside / len(errors)
    return f"{inside} of {len(errors)} inside ({share:.0%}), median |log2| {middle:.2f}, largest {sizes[-1]:.2f}"


if __name__ == "__main__":
    main()
