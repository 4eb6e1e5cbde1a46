"""Limits of targets as dated rows in a plugin's `limits.toml`, read when the targets are asked for."""

import tomllib
from importlib import resources
from typing import Any

from tunebridge.data.targets import Limits

UNVERIFIED = "unverified"


def load_limits(package: str) -> dict[str, Limits]:
    """Return a plugin's limits by the name of their section."""
    sections = _read(package)
    return {name: Limits.model_validate(section) for name, section in sections.items() if name != UNVERIFIED}


def load_unverified(package: str) -> dict[str, dict[str, str]]:
    """Return which features rest on no document or measurement, and why, by `backend` or `backend/target`."""
    found: dict[str, dict[str, str]] = _read(package).get(UNVERIFIED, {})
    return found


def _read(package: str) -> dict[str, Any]:
    return tomllib.loads(resources.files(package).joinpath("limits.toml").read_text("utf-8"))
