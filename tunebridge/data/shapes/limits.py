"""Limits of targets as dated rows in a plugin's `limits.toml`, read when the targets are asked for."""

import tomllib
from importlib import resources
from typing import Any

from tunebridge.data.targets import Limits


def load_limits(package: str) -> dict[str, Limits]:
    """Return a plugin's limits by the name of their section."""
    return {name: Limits.model_validate(section) for name, section in _sections(package).items()}


def load_unverified(package: str) -> dict[str, dict[str, str]]:
    """Return, by section, which features' cells in the matrix rest on no document or measurement, and why."""
    return {name: section.get("unverified", {}) for name, section in _read(package).items()}


def _sections(package: str) -> dict[str, Any]:
    return {
        name: {key: value for key, value in section.items() if key != "unverified"}
        for name, section in _read(package).items()
    }


def _read(package: str) -> dict[str, Any]:
    return tomllib.loads(resources.files(package).joinpath("limits.toml").read_text("utf-8"))
