"""Which machine fits a model and which image it starts, by `instances.toml`; what it costs, by `prices.toml`."""

import re
import tomllib
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

from tunebridge.cost.price import PriceBook, packaged

LOCAL_DISKS = re.compile(r"ml\.(g4dn|g[5-9][a-z]*|p3dn|p[4-9][a-z]*|[cmr]\d[a-z]*d[a-z]*)\.")
"""Families with NVMe disks: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ResourceConfig.html."""


@dataclass(frozen=True)
class Instance:
    """One type of machine."""

    name: str
    gpu: str
    gpu_memory_gb: int


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
    row = PriceBook([packaged(__package__)]).find("sagemaker", "training", name, region=region)
    if row is None or row.usd is None:
        return None, f"no price of {name} is known here; look at https://aws.amazon.com/sagemaker/pricing/"
    elsewhere = f"; that is {row.region}, {region} may differ" if region != row.region else ""
    return row.usd, f"{row.told}{elsewhere}"


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
    return [Instance(**row) for row in _table()["instance"]]


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files("tunebridge_sagemaker").joinpath("instances.toml").read_text(encoding="utf-8"))
