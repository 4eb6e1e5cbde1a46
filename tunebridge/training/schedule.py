"""Learning rate by step, with the formulas of transformers' `get_scheduler`, and which steps evaluate."""

import math
from typing import Literal

Schedule = Literal["linear", "cosine", "constant"]


def factor(step: int, *, total_steps: int, warmup_steps: int, schedule: Schedule) -> float:
    """Return the learning rate of a step (from 0) as a factor on its peak."""
    if step < warmup_steps:
        return step / warmup_steps
    if schedule == "constant":
        return 1.0
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 1.0 - progress if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))


def total_steps(rows: int, *, batch_size: int, epochs: float, max_steps: int | None) -> int:
    """Return the optimizer steps of a run: `max_steps` where it is set, else whole batches for the epochs."""
    if max_steps is not None:
        return max_steps
    return max(1, round(math.ceil(rows / batch_size) * epochs))


def evaluation_steps(total: int, evaluations: int) -> frozenset[int]:
    """Return after how many steps the validation rows are looked at; the last step is among them."""
    return frozenset(max(1, round(total * number / evaluations)) for number in range(1, evaluations + 1))
