"""Tool calls of a row: each has its answer, and arguments such as the declared schema asks for.

The schema is read by hand, the part of JSON schema that tools use (type, enum, const, required, properties,
additionalProperties, items): what it does not know is not judged. So a row is judged the same on every machine,
and no schema can make anything be fetched from a network.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from tunebridge.data.problems import Finding
from tunebridge.data.targets import CanonicalRow

TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}
MAX_DEPTH = 32
_PLAIN = {"string": str, "integer": int, "boolean": bool}


def check_tools(row: CanonicalRow) -> Iterator[Finding]:
    """Yield calls without answers, answers without calls, and arguments that do not fit."""
    messages: Sequence[Mapping[str, Any]] = row["messages"]
    declared = _declared(row.get("tools", ()))
    open_calls: dict[str, int] = {}
    for number, message in enumerate(messages):
        for place, call in enumerate(message.get("tool_calls", ())):
            open_calls[call["id"]] = number
            yield from _check_call(call["function"], declared, f"messages.{number}.tool_calls.{place}")
        if message["role"] == "tool" and open_calls.pop(message.get("tool_call_id", ""), None) is None:
            fix = "Give it the tool_call_id of a call before it."
            yield Finding("E007", "a tool's answer belongs to no call", fix, f"messages.{number}.tool_call_id")
    for identifier, number in open_calls.items():
        if number != len(messages) - 1:
            fix = "Add the tool's answer, or end the row with the call."
            yield Finding("E007", f"the call {identifier!r} has no answer", fix, f"messages.{number}.tool_calls")


def _declared(tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the schema of each tool's arguments by the tool's name."""
    functions = [tool.get("function", tool) for tool in tools]
    return {
        function["name"]: function.get("parameters")
        for function in functions
        if isinstance(function, dict) and isinstance(function.get("name"), str)
    }


def _check_call(function: Mapping[str, Any], declared: Mapping[str, Any], path: str) -> Iterator[Finding]:
    name = function["name"]
    try:
        arguments = orjson.loads(function["arguments"])
    except orjson.JSONDecodeError:
        arguments = None
    place = f"{path}.function.arguments"
    if not isinstance(arguments, dict):
        fix = "Write the arguments as the text of one JSON object."
        yield Finding("E008", f"the arguments of {name} are not a JSON object", fix, place)
    elif name in declared:
        schema = declared[name]
        for at, message in _violations(arguments, schema, "") if isinstance(schema, dict) else ():
            fix = "Mend the arguments, or the schema that the row declares."
            yield Finding("E008", f"the arguments of {name} do not fit its schema: {message}", fix, place + at)
    elif declared:
        fix = "Declare it in tools, or mend the name."
        yield Finding("W113", f"{name} is called, and is not among the row's tools", fix, f"{path}.function.name")


def _violations(value: Any, schema: Any, path: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield (path, what is wrong); values are not repeated."""
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return
    types = schema.get("type")
    names = [types] if isinstance(types, str) else types if isinstance(types, list) else []
    names = [name.lower() if isinstance(name, str) else "" for name in names]  # Gemini's schemas say STRING
    if names and not any(_is_of(value, name) for name in names):
        yield path, f"{_where(path)} is not of type {' or '.join(names)}"
        return
    if isinstance(schema.get("enum"), list) and value not in schema["enum"]:
        yield path, f"{_where(path)} is none of the values that are allowed"
    if "const" in schema and value != schema["const"]:
        yield path, f"{_where(path)} is not the one value that is allowed"
    if isinstance(value, dict):
        yield from _object_violations(value, schema, path, depth)
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _violations(item, schema.get("items"), f"{path}.{number}", depth + 1)


def _object_violations(value: dict[str, Any], schema: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    known = schema.get("properties")
    known = known if isinstance(known, dict) else {}
    required = schema.get("required")
    for name in required if isinstance(required, list) else ():
        if isinstance(name, str) and name not in value:
            yield path, f"{name} is missing"
    for name, inner in value.items():
        if name in known and not _is_plainly(inner, known[name]):
            yield from _violations(inner, known[name], f"{path}.{name}", depth + 1)
        elif name not in known and schema.get("additionalProperties") is False and "patternProperties" not in schema:
            yield f"{path}.{name}", f"{name} is not declared"


def _is_plainly(value: Any, schema: Any) -> bool:
    """Whether a value is what a schema of one type and nothing else asks for: most arguments are."""
    if type(schema) is not dict or len(schema) > 2 or (len(schema) == 2 and "description" not in schema):
        return False
    name = schema.get("type")
    return isinstance(name, str) and _PLAIN.get(name) is type(value)


def _is_of(value: Any, name: str) -> bool:
    if name not in TYPES:
        return True
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, TYPES[name])


def _where(path: str) -> str:
    return path.removeprefix(".") or "the whole"
