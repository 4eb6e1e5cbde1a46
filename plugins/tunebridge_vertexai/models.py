"""Which models Vertex AI tunes, and what of them: dated rows of `models.toml`."""

import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Literal

Family = Literal["gemini", "open_models"]
Profile = Literal["gemini", "open_models", "custom_job"]
PUBLISHERS = ("google/", "meta/", "qwen/")


def family(model: str, *, custom_weights: bool) -> Family:
    """Return whether a model is one of Google's own or an open one; a tuned model counts as Google's own."""
    if model.startswith("projects/"):
        return "gemini"
    return "open_models" if custom_weights or "@" in model or model.startswith(PUBLISHERS) else "gemini"


def adapters(model: str) -> Sequence[str] | None:
    """Return what can be trained of an open model, None where the rows do not have it."""
    found: Sequence[str] | None = _table()["open_models"]["adapters"].get(model)
    return found


def known(family_name: Family) -> Sequence[str]:
    """Return the names of a family's models."""
    rows = _table()[family_name]
    return list(rows["names"] if family_name == "gemini" else rows["adapters"])


def adapter_sizes(family_name: Family) -> Sequence[int]:
    """Return the ranks that an adapter may have."""
    sizes: Sequence[int] = _table()[family_name]["adapter_sizes"]
    return sizes


def regions() -> Sequence[str]:
    """Return where open models are tuned; `global` lets the service choose one of the others."""
    found: Sequence[str] = _table()["open_models"]["regions"]
    return found


def source(family_name: Family) -> str:
    """Return where a family's rows come from and how old they are."""
    rows = _table()[family_name]
    return f"{rows['source_url']}, {rows['as_of']}"


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files("tunebridge_vertexai").joinpath("models.toml").read_text(encoding="utf-8"))
