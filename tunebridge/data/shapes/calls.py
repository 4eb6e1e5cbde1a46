"""Tool calls and declarations as values: ids, arguments as objects, declarations as functions."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from tunebridge.data.shapes.carries import Carries
from tunebridge.data.shapes.notes import Notes

Call = Mapping[str, Any]

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


def carried_calls(calls: Sequence[Call], at: str, carries: Carries, notes: Notes) -> Sequence[Call]:
    """Return a turn's calls with the ids and the form of arguments that the shape has; `at` is their path."""
    if carries.call_ids == "L-call-ids" or any(carried_id(call["id"], carries) != call["id"] for call in calls):
        notes.report(carries.call_ids, at)
    if carries.call_ids == "L-call-ids-renamed":
        calls = [{**call, "id": carried_id(call["id"], carries)} for call in calls]
    return calls if carries.arguments == "text" else _with_objects(calls, at, notes)


def carried_id(name: str, carries: Carries) -> str:
    """Return a call's id, or nine characters of its digest where the service takes ids of nine only."""
    if carries.call_ids != "L-call-ids-renamed" or (len(name) == 9 and name.isascii() and name.isalnum()):
        return name
    return hashlib.sha256(name.encode()).hexdigest()[:9]


def _with_objects(calls: Sequence[Call], at: str, notes: Notes) -> list[Call]:
    found: list[Call] = []
    for index, call in enumerate(calls):
        function = call["function"]
        arguments = parse_object(function["arguments"])
        if arguments is None:
            notes.refuse("X-arguments", f"{at}.{index}.function.arguments")
        found.append({**call, "function": {"name": function["name"], "arguments": arguments}})
    return found


def require_functions(tools: Sequence[Mapping[str, Any]], notes: Notes) -> None:
    """Refuse tools that are not declared as functions with a name."""
    for index, tool in enumerate(tools):
        function = tool.get("function")
        if (
            tool.get("type") != "function"
            or not isinstance(function, dict)
            or not isinstance(function.get("name"), str)
        ):
            notes.refuse("X-tool-declaration", f"tools.{index}")


def functions(tools: Sequence[Mapping[str, Any]], notes: Notes) -> list[dict[str, Any]]:
    """Return the functions that are declared, with no keys but name, description and parameters."""
    found = []
    for index, tool in enumerate(tools):
        extra = [key for key in tool if key not in ("type", "function")]
        extra += [f"function.{key}" for key in tool["function"] if key not in FUNCTION_KEYS]
        for key in extra:
            notes.report("L-tool-extra", f"tools.{index}.{key}")
        found.append({key: value for key, value in tool["function"].items() if key in FUNCTION_KEYS})
    return found
