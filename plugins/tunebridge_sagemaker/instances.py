"""Which machine fits a model, what it costs an hour, and which image it starts: dated rows of `instances.toml`."""

import re
import tomllib
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

LOCAL_DISKS = re.compile(r"ml\.(g4dn|g[5-9][a-z]*|p3dn|p[4-9][a-z]*|[cmr]\d[a-z]*d[a-z]*)\.")
"""Families with NVMe disks: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ResourceConfig.html."""


@dataclass(frozen=True)
class Instance:
    """One type of machine."""

    name: str
    gpu: str
    gpu_memory_gb: int
    usd_per_hour: Decimal | None = None


def instance(name: str) -> Instance | None:
    """Return what is known of a type, None for one that the table does not have."""
    return next((found for found in _instances() if found.name == name), None)


def smallest_fitting(needed: float) -> Instance | None:
    """Return the first type, cheapest first, whose GPU has so much memory, None where none has."""
    return next((found for found in _instances() if found.gpu_memory_gb >= needed), None)


def has_local_disks(name: str) -> bool:
    """Whether a type brings disks of its own, whose size is fixed and which it encrypts itself."""
    return bool(LOCAL_DISKS.match(name))


def price(name: str, region: str) -> tuple[Decimal | None, str]:
    """Return USD per hour and where that comes from, or None and why there is no price."""
    row, known = _table()["prices"], instance(name)
    if known is None or known.usd_per_hour is None:
        return None, f"no price of {name} is known here; look at https://aws.amazon.com/sagemaker/pricing/"
    said = f"{row['confidence']} confidence, {row['as_of']}, {row['source_url']}"
    elsewhere = f"; that is {row['region']}, {region} may differ" if region != row["region"] else ""
    return known.usd_per_hour, f"{said}{elsewhere}"


def image_uri(region: str, instance_type: str) -> str:
    """Return Amazon's PyTorch image for a region and a type of machine."""
    row = _table()["image"]
    return f"{_registry(region)}/{row['repository']}:{row['tag']}-{_processor(instance_type)}-{row['python']}"


def inference_image_uri(region: str, instance_type: str) -> str:
    """Return Amazon's image with the Hugging Face inference toolkit for a region and a type of machine."""
    row = _table()["inference_image"]
    return f"{_registry(region)}/{row['repository']}:{row[_processor(instance_type)]}"


def _registry(region: str) -> str:
    row = _table()["image"]
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"{row['accounts'].get(region, row['account'])}.dkr.ecr.{region}.{domain}"


def _processor(instance_type: str) -> str:
    return "gpu" if re.match(r"ml\.[gp]\d", instance_type) else "cpu"


def _instances() -> list[Instance]:
    rows = _table()["instance"]
    return [Instance(**{**row, "usd_per_hour": _money(row.get("usd_per_hour"))}) for row in rows]


def _money(text: str | None) -> Decimal | None:
    return Decimal(text) if text else None


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files("tunebridge_sagemaker").joinpath("instances.toml").read_text(encoding="utf-8"))
