"""The primary metric by values of the rows' metadata."""

from collections.abc import Mapping, Sequence

from tunebridge.evaluation.result import Estimate, SliceResult
from tunebridge.evaluation.statistics import compare
from tunebridge.evaluation.task import EvalTask

MOST_VALUES = 20
"""A key with more values than this is no way to divide the rows."""
MOST_CHARACTERS = 80
RESAMPLES = 2_000


def slices_of(
    task: EvalTask, scores: Mapping[str, Sequence[float]], *, baseline: str, confidence: float, is_binary: bool
) -> tuple[SliceResult, ...]:
    """Return each slice's means and differences to the baseline."""
    found = []
    for key, by_value in _parts(task).items():
        for value, numbers in sorted(by_value.items()):
            columns = {name: [column[n] for n in numbers] for name, column in scores.items()}
            differences = {}
            for name, column in columns.items():
                if name != baseline:
                    made = compare(
                        columns[baseline], column, is_binary=is_binary, confidence=confidence, resamples=RESAMPLES
                    )
                    differences[name] = Estimate(mean=made.difference, low=made.low, high=made.high)
            means = {name: sum(column) / len(column) for name, column in columns.items()}
            found.append(SliceResult(key=key, value=value, rows=len(numbers), means=means, differences=differences))
    return tuple(found)


def _parts(task: EvalTask) -> dict[str, dict[str, list[int]]]:
    """Return the rows' numbers by value, for every key of the metadata that divides them into a few parts."""
    parts: dict[str, dict[str, list[int]]] = {}
    for number, row in enumerate(task.rows):
        for key, value in row.metadata.items():
            if isinstance(value, str | int | bool):
                parts.setdefault(key, {}).setdefault(str(value)[:MOST_CHARACTERS], []).append(number)
    return {key: by_value for key, by_value in parts.items() if 1 < len(by_value) <= MOST_VALUES}
