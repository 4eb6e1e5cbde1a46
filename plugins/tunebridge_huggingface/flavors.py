"""Which machine fits a model, by `flavors.toml`, and what it costs an hour, by `prices.toml`."""

import tomllib
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

from tunebridge.cost.price import packaged
from tunebridge.training.size import NANO_BILLIONS, billions_of_weights, needed_gb


@dataclass(frozen=True)
class Flavor:
    """One kind of machine."""

    name: str
    usd_per_hour: Decimal
    gpu_memory_gb: int = 0
    """0: it has no GPU."""


def flavor(name: str) -> Flavor | None:
    """Return what is known of a kind of machine, None where the table does not have it."""
    return next((found for found in _flavors() if found.name == name), None)


def fitting(model: str, adapter: str) -> Flavor | None:
    """Return the cheapest machine on which a model can be trained, None where none fits or its size is not known."""
    billions = billions_of_weights(model)
    if billions is None:
        return None
    needed = 0.0 if billions <= NANO_BILLIONS else needed_gb(billions, adapter)
    return next((found for found in _flavors() if found.gpu_memory_gb >= needed), None)


def source() -> str:
    """Return where the prices come from and how old they are."""
    row = packaged(__package__)[0]
    return f"{row.source_url}, {row.as_of}"


def _flavors() -> list[Flavor]:
    prices = {row.sku: row.usd for row in packaged(__package__) if row.usd is not None}
    return [Flavor(usd_per_hour=prices[row["name"]], **row) for row in _table()["flavor"]]


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files("tunebridge_huggingface").joinpath("flavors.toml").read_text(encoding="utf-8"))
