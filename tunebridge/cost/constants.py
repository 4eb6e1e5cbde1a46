"""What the models of time and memory assume: `constants.toml`, and what a user or a calibration puts over it."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from tunebridge.cost.interval import Interval
from tunebridge.errors import SpecError

Factors = tuple[float, float]
"""(low, high), on a likely value."""


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU, as its maker describes it."""

    name: str
    peak_tflops: float
    memory_gb: float
    bandwidth: float
    """Of its memory, in GB/s."""
    link: float
    """To its neighbours in one machine, in GB/s."""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Constants:
    """The tables of `constants.toml`, with whatever overrides them."""

    tables: Mapping[str, Any]
    calibrated: Mapping[str, Sequence[float]]
    """Backend and machine -> (low, likely, high) of measured time over predicted time, from the user's own jobs."""

    def number(self, table: str, key: str) -> float:
        """Return one constant."""
        return float(self.tables[table][key])

    def triple(self, table: str, key: str) -> Interval:
        """Return a constant with its bounds."""
        low, likely, high = self.tables[table][key]
        return Interval(low=low, likely=likely, high=high)

    def bounds(self, *regimes: str) -> Factors:
        """Return the bounds of a regime; of several, those of the widest in each direction."""
        pairs = [self.tables["bounds"][regime] for regime in regimes]
        return min(pair[0] for pair in pairs), max(pair[1] for pair in pairs)

    def gpu(self, name: str) -> Gpu | None:
        """Return a GPU by any usual spelling of its name, None where it is not known."""
        wanted = re.sub(r"[^a-z0-9]", "", name.lower())
        known = [(alias, gpu) for gpu in self._gpus() for alias in gpu.aliases if alias in wanted]
        return max(known, key=lambda pair: len(pair[0]), default=(None, None))[1]

    def _gpus(self) -> list[Gpu]:
        return [Gpu(**{**row, "aliases": tuple(row["aliases"])}) for row in self.tables["gpu"]]

    @property
    def as_of(self) -> date:
        """Day of the packaged constants."""
        found: date = self.tables["as_of"]
        return found


def load_constants(overrides: Sequence[Path] = ()) -> Constants:
    """Return the packaged constants with the tables of other files laid over them, in order."""
    tables = dict(packaged_constants())
    for path in overrides:
        tables = _laid_over(tables, _read(path))
    return Constants(tables, tables.get("calibrated", {}))


@cache
def packaged_constants() -> Mapping[str, Any]:
    """Return the tables of the packaged file."""
    return tomllib.loads(files("tunebridge.cost").joinpath("constants.toml").read_text(encoding="utf-8"))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SpecError(f"The constants cannot be read: {error}. Give a TOML file.", file=path) from None


def _laid_over(tables: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Put tables over others; a list of GPUs is added in front, so that the user's own come first."""
    laid = dict(tables)
    for key, value in over.items():
        if key == "gpu":
            laid[key] = [*value, *laid[key]]
        elif isinstance(value, Mapping):
            laid[key] = {**laid.get(key, {}), **value}
        else:
            laid[key] = value
    return laid
