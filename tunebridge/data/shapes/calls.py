"""Tool calls and declarations as values: arguments as objects, declarations as functions."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from tunebridge.data.shapes.notes import Notes

FUNCTION_KEYS = frozenset({"name", "description", "parameters"})


def parse_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that a text is, or None where it is none or would not survive being one.

    It would not survive with a key that is named twice, or a number that no double holds.
    """
    try:
        value = orjson.loads(text)
        if isinstance(value, dict) and json.loads(text, object_pairs_hook=_unique) == value:
            return value
    except (ValueError, RecursionError):
        pass
    return None


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is named twice")
    return found


def functions(tools: Sequence[Mapping[str, Any]], notes: Notes) -> list[Mapping[str, Any]]:
    """Return the functions that are declared, with no keys but name, description and parameters."""
    return [_function(tool, f"tools.{index}", notes) for index, tool in enumerate(tools)]


def _function(tool: Mapping[str, Any], at: str, notes: Notes) -> Mapping[str, Any]:
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, dict) or not isinstance(function.get("name"), str):
        notes.report("X-tool-declaration", at)
    assert isinstance(function, dict)  # or it was refused
    for key in tool.keys() - {"type", "function"}:
        notes.report("L-tool-extra", f"{at}.{key}")
    extra = sorted(function.keys() - FUNCTION_KEYS)
    for key in extra:
        notes.report("L-tool-extra", f"{at}.function.{key}")
    return {key: value for key, value in function.items() if key not in extra} if extra else function
