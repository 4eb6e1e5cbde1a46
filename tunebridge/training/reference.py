"""Log-probabilities under the base model, computed once where every weight is trained and no adapter can be off."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tunebridge.training.device import Resources
from tunebridge.training.objective import row_log_probabilities
from tunebridge.training.packing import flatten, passes
from tunebridge.training.process import Stopped
from tunebridge.training.rows import RenderedSplit, Unit

REFERENCE_FILE = "reference.safetensors"
Compute = Callable[[Sequence[Unit]], Tensor]
"""Units -> their reference, (units, rows of a unit)."""


def keep_reference(splits: Mapping[str, RenderedSplit], folder: Path, compute: Compute) -> dict[str, Tensor]:
    """Compute every unit's reference, unless it is in the run folder; keep it there and return it by split."""
    path = folder / REFERENCE_FILE
    if not path.exists():
        partial = path.with_name(path.name + ".partial")
        save_file({name: compute(split.units) for name, split in splits.items()}, partial)
        partial.rename(path)
    return load_file(path)


def with_reference(splits: Mapping[str, RenderedSplit], kept: Mapping[str, Tensor]) -> dict[str, RenderedSplit]:
    """Return the splits with every unit's reference."""
    return {name: _joined(split, kept[name]) for name, split in splits.items()}


def by_model(model: Any, resources: Resources, should_stop: Callable[[], bool]) -> Compute:
    """Return the function that asks the model, as it stands before training; its result is (units, rows of a unit)."""

    @torch.no_grad()
    def compute(units: Sequence[Unit]) -> Tensor:
        model.eval()
        found = torch.empty(len(units), len(units[0].rows))
        for numbers in passes([unit.tokens for unit in units], max_tokens=resources.tokens_per_pass):
            if should_stop():
                raise Stopped
            batch = flatten([units[number] for number in numbers], torch.device(resources.device))
            found[numbers] = row_log_probabilities(model, batch, resources).view(len(numbers), -1).cpu()
        return found

    return compute


def _joined(split: RenderedSplit, values: Tensor) -> RenderedSplit:
    units = tuple(unit._replace(reference=tuple(row)) for unit, row in zip(split.units, values.tolist(), strict=True))
    return replace(split, units=units)
