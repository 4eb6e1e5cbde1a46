"""Rows as plain JSON values in canonical form (`Example.to_json()`): the form in which files of any size are handled.

`canonical_row` is a fast yes: it answers only for rows that are plainly of the right shape. Whatever it does not know
goes to pydantic, which decides alone what is an error, so that both accept the same rows.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from operator import is_not
from typing import Any

import orjson

from tunebridge.data.example import Example, Feature, Kind, Message
from tunebridge.data.targets import CanonicalRow

FIELDS = frozenset(Example.model_fields)
ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
PLAIN_ROLES = ROLES - {"tool"}
SPLITS = frozenset({"train", "validation", "test"})
DETAILS = frozenset({"auto", "low", "high"})
TURN = frozenset(Message.model_fields)
TEXTS = frozenset({"content", "name", "tool_call_id", "reasoning"})


class Unsure(Exception):  # not an error
    """A row is not plainly of the right shape: pydantic has to look at it."""


def canonical_row(row: Mapping[str, Any]) -> CanonicalRow | None:
    """Return the row in canonical form, itself where nothing changes, or None where pydantic has to decide."""
    try:
        found = _row(row)
    except Unsure:
        return None
    if ("messages" in found) == ("text" in found) or ("preferred" in found) != ("rejected" in found):
        return None
    return found


def plain_roles(row: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the roles of a row of plain turns, which is canonical as it stands; None of any other row.

    A plain turn is a role and a text, and nothing else; tools answer with more than that. None is blank.
    """
    messages = row.get("messages")
    if len(row) != 1 or type(messages) is not list or not messages:
        return None
    roles = []
    for message in messages:
        if type(message) is not dict or len(message) != 2:
            return None
        role, content = message.get("role"), message.get("content")
        if type(content) is not str or type(role) is not str or role not in PLAIN_ROLES:
            return None
        if not content or content.isspace():
            return None
        roles.append(role)
    return tuple(roles)


def canonical_bytes(value: Any) -> bytes:
    """Return the canonical bytes of a row or a part of one: JSON with sorted keys, UTF-8, without spaces."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def kind_of(row: CanonicalRow) -> Kind:
    """Return what the row can teach, as `Example.kind`."""
    if "text" in row:
        return "text"
    if "preferred" in row:
        return "preference"
    if "label" in row:
        return "kto"
    for message in row["messages"]:
        if message["role"] == "assistant" and message.get("weight") != 0:
            return "sft"
    return "prompt_only"


def features_of(row: CanonicalRow) -> frozenset[Feature]:
    """Return what the row has beyond role and text, as `Example.features`."""
    found: set[Feature] = {"tools"} if row.get("tools") else set()
    for message in turns_of(row):
        content = message.get("content")
        if message["role"] == "tool" or message.get("tool_calls"):
            found.add("tools")
        if type(content) is list and any(part["type"] != "text" for part in content):
            found.add("images")
        if len(message) > 2 or content is None:
            found.update(feature for feature in _OPTIONAL if feature in message)
    return frozenset(found)


def turns_of(row: CanonicalRow) -> Sequence[Mapping[str, Any]]:
    """Return every turn of a row: the conversation, then the preferred and the rejected answer."""
    messages: list[Mapping[str, Any]] = row.get("messages", [])
    return [*messages, *row["preferred"], *row["rejected"]] if "preferred" in row else messages


_OPTIONAL: tuple[Feature, ...] = ("reasoning", "weight", "name")


def _row(row: Mapping[str, Any]) -> CanonicalRow:
    if len(row) == 1 and type(row.get("messages")) is list:
        messages = _messages(row["messages"])
        return row if messages is row["messages"] else {"messages": messages}
    found: dict[str, Any] = {}
    for key, value in row.items():
        if value is None and key in FIELDS:
            continue
        found[key] = _field(key, value)
    return found


def _field(key: str, value: Any) -> Any:
    known = type(value)
    if key in ("messages", "preferred", "rejected") and known is list:
        return _messages(value)
    if key in ("text", "id") and known is str:
        return value
    if key in ("label", "parallel_tool_calls") and known is bool:
        return value
    if key == "metadata" and known is dict:
        return value
    if key == "reference" or (key == "split" and known is str and value in SPLITS):
        return value
    if key == "tools" and known is list and all(type(tool) is dict for tool in value):
        return value
    raise Unsure


def _messages(messages: list[Any]) -> list[Any]:
    """Return the turns in canonical form, the same list where none changes."""
    changed: list[Any] | None = None
    for number, message in enumerate(messages):
        if type(message) is not dict:
            raise Unsure
        role = message.get("role")
        if type(role) is not str or role not in ROLES:
            raise Unsure
        if len(message) == 2 and type(message.get("content")) is str:
            continue
        mended = _turn(message)
        if mended is not message:
            changed = changed or list(messages)
            changed[number] = mended
    return changed or messages


def _turn(message: dict[str, Any]) -> dict[str, Any]:
    """Return a turn in canonical form, itself where nothing changes."""
    changed: dict[str, Any] | None = None
    for key, value in message.items():
        if value is None and key in TURN:
            changed = changed or dict(message)
            del changed[key]
            continue
        mended = _turn_field(key, value)
        if mended is not value:
            changed = changed or dict(message)
            changed[key] = mended
    return changed or message


def _turn_field(key: str, value: Any) -> Any:
    known = type(value)
    if key == "role" or (key in TEXTS and known is str):
        return value
    if key == "tool_calls" and known is list:
        calls = [_call(call) for call in value]
        return calls if any(map(is_not, calls, value)) else value
    if key == "content" and known is list and all(map(_is_part, value)):
        return value
    if key == "weight" and known in (int, float) and value >= 0 and isfinite(value):
        return value if known is float else float(value)
    raise Unsure


def _call(call: Any) -> Any:
    if type(call) is not dict or type(call.get("id")) is not str or type(call.get("function")) is not dict:
        raise Unsure
    function = call["function"]
    if len(function) != 2 or type(function.get("name")) is not str or type(function.get("arguments")) is not str:
        raise Unsure
    if len(call) == 3 and call.get("type") == "function":
        return call
    if len(call) == 2:
        return {**call, "type": "function"}
    raise Unsure


def _is_part(part: Any) -> bool:
    if type(part) is not dict or len(part) != 2:
        return False
    if part.get("type") == "text":
        return type(part.get("text")) is str
    image = part.get("image_url")
    if part.get("type") != "image_url" or type(image) is not dict or type(image.get("url")) is not str:
        return False
    return len(image) == 1 or (len(image) == 2 and type(image.get("detail")) is str and image["detail"] in DETAILS)
