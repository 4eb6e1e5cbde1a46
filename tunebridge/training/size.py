"""How large a model is, as its name or files say it, and how much GPU memory training it takes."""

import re
from collections.abc import Mapping
from pathlib import Path

from tunebridge.cost import memory
from tunebridge.cost.constants import load_constants
from tunebridge.cost.hours import Adapted
from tunebridge.training.config import NANO, RANDOM

SIZE = re.compile(r"(?<![A-Za-z0-9])(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(?![A-Za-z0-9])", re.IGNORECASE)
"""Such as `0.6B`, `8b`, `270m`, `8x7B`."""
NANO_BILLIONS = 0.001
ADAPTED: Mapping[str, Adapted] = {
    "lora": "lora",
    "rslora": "lora",
    "dora": "lora",
    "qlora": "qlora",
    "full": "full",
}
"""Adapter -> how the models of time and memory see it."""
BYTES_IN_FILES = 2
"""Per weight: models are published in bfloat16."""


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
    """Return how many GB a GPU must have to train safely with an adapter of this type, by the model of memory."""
    return memory.needed_gb(billions, ADAPTED[adapter], load_constants())
