"""Values against a shape of botocore's service model, everything that it declares included.

botocore itself checks required members, unknown keys, types and minimum lengths. It leaves enums, patterns, maximum
lengths and counts to the service; this checks those too.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

CLASSES = {
    r"\p{L}": r"\w",
    r"\p{M}": r"\u0300-\u036f",
    r"\p{N}": r"\d",
    r"\p{P}": r"!-/:-@\[-`{-~",
    r"\p{S}": r"$+<->^`|~",
    r"\p{Z}": r"\s",
    r"\p{Alnum}": "a-zA-Z0-9",
    r"\p{ASCII}": r"\x00-\x7f",
    r"\p{Print}": r"\x20-\x7e",
}
"""Java's classes of characters -> nearly the same in Python, inside brackets."""
JAVA_CLASS = re.compile(r"\\p\{\w+\}")
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "character": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (float, int),
    "double": (float, int),
    "blob": (bytes, str),
    "timestamp": (datetime, float, int, str),
    "list": (list, tuple),
    "map": (Mapping,),
    "structure": (Mapping,),
}


def problem_of(value: Any, shape: Any, path: str = "") -> str | None:
    """Return what is wrong with a value, with the place and in the service's way of saying it; None: nothing."""
    kind = shape.type_name
    if getattr(shape, "is_document_type", False):
        return None
    if not _has_type(value, kind):
        return f"{_named(path)} has the type {type(value).__name__}, {kind} was expected"
    if kind == "structure":
        return _problem_of_structure(value, shape, path)
    if kind == "list":
        return _problem_of_size(len(value), shape, path) or _first(
            problem_of(item, shape.member, f"{path}.{number}") for number, item in enumerate(value, start=1)
        )
    if kind == "map":
        return _problem_of_size(len(value), shape, path) or _problem_of_pairs(value, shape, path)
    if isinstance(value, str) and kind == "string":
        return _problem_of_text(value, shape, path)
    return _problem_of_size(value, shape, path) if isinstance(value, int | float) and kind != "boolean" else None


def _has_type(value: Any, kind: str) -> bool:
    return isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _problem_of_structure(value: Mapping[str, Any], shape: Any, path: str) -> str | None:
    for name in shape.required_members:
        if value.get(name) is None:
            return f"{_named(path, name)} must not be null"
    for name, item in value.items():
        if name not in shape.members:
            return f"{_named(path, name)} is not a member of {shape.name}"
        if item is not None and (problem := problem_of(item, shape.members[name], f"{path}.{name}")):
            return problem
    if getattr(shape, "is_tagged_union", False) and sum(item is not None for item in value.values()) != 1:
        return f"{_named(path)} must have exactly one member"
    return None


def _problem_of_pairs(value: Mapping[str, Any], shape: Any, path: str) -> str | None:
    return _first(
        problem_of(key, shape.key, f"{path}.{key}") or problem_of(item, shape.value, f"{path}.{key}")
        for key, item in value.items()
    )


def _problem_of_text(value: str, shape: Any, path: str) -> str | None:
    if shape.enum and value not in shape.enum:
        return f"{_named(path)} = {value!r} is not one of the enum values of {shape.name}"
    if problem := _problem_of_size(len(value), shape, path):
        return problem
    pattern = shape.metadata.get("pattern")
    if pattern and not _compiled(pattern).fullmatch(value):
        return f"{_named(path)} = {value!r} does not satisfy the pattern {pattern}"
    return None


def _problem_of_size(size: float, shape: Any, path: str) -> str | None:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        return f"{_named(path)} must have length or value greater than or equal to {low}"
    if high is not None and size > high:
        return f"{_named(path)} must have length or value less than or equal to {high}"
    return None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern of the model; the few that are wrong in every language match anything."""
    flags = 0 if r"\p" in pattern else re.ASCII
    try:
        return re.compile(JAVA_CLASS.sub(_in_python, pattern), flags)
    except re.error:
        return re.compile(".*", re.DOTALL)


def _in_python(match: re.Match[str]) -> str:
    """Return one of Java's classes, in brackets of its own unless it stands in some."""
    before = match.string[: match.start()].replace(r"\[", "").replace(r"\]", "")
    python = CLASSES.get(match[0], r"\w")
    return python if before.count("[") > before.count("]") else f"[{python}]"


def _first(problems: Any) -> str | None:
    return next((problem for problem in problems if problem), None)


def _named(path: str, name: str = "") -> str:
    parts: Sequence[str] = [part for part in (path.lstrip("."), name) if part]
    return f"Value at {'.'.join(parts)!r}" if parts else "The request"
