"""How large a model is, as its name says it, and about how much GPU memory training it takes."""

import re
from pathlib import Path

from tunebridge.training.config import NANO, RANDOM

SIZE = re.compile(r"(?<![A-Za-z0-9])(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(?![A-Za-z0-9])", re.IGNORECASE)
"""Such as `0.6B`, `8b`, `270m`, `8x7B`."""
NANO_BILLIONS = 0.001
BYTES_IN_FILES = 2
"""Per weight: models are published in bfloat16."""
OVERHEAD_GB = 6.0
"""Activations, logits and CUDA itself."""
BYTES_PER_WEIGHT = {"lora": 2.4, "full": 16.0}
"""LoRA: bfloat16 and a fifth for the adapter and its optimizer; full: float32 weights, gradients and AdamW."""


def billions_of_weights(model: str) -> float | None:
    """Return a model's size in billions of weights, None where its name says none."""
    if model in (NANO, RANDOM):
        return NANO_BILLIONS
    found = SIZE.search(model.rpartition("/")[2])
    if not found:
        return None
    experts, number, unit = found.groups()
    return int(experts or 1) * float(number) / (1000 if unit.lower() == "m" else 1)


def billions_of(model: str) -> float | None:
    """Return a model's size in billions of weights: as its files have it where it lies here, or as its name says it."""
    folder = Path(model).expanduser()
    if model not in (NANO, RANDOM) and folder.is_dir():
        size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        return size / BYTES_IN_FILES / 1e9 or None
    return billions_of_weights(model)


def needed_gb(billions: float, adapter: str) -> float:
    """Return about how many GB of GPU memory a training takes; a rough bound, not measured on each model."""
    return billions * BYTES_PER_WEIGHT.get(adapter, BYTES_PER_WEIGHT["lora"]) + OVERHEAD_GB
