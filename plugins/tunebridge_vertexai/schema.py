"""JSON Schema -> the Schema of Vertex AI's function declarations (v1beta1, revision 20261106)."""

from typing import Any

from tunebridge.data.shapes.notes import Notes

TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
SAME = frozenset(
    {
        "default",
        "description",
        "example",
        "format",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "nullable",
        "pattern",
        "propertyOrdering",
        "required",
        "title",
    }
)
"""Keywords that both know under one name with one meaning."""


def gemini_schema(schema: Any, at: str, notes: Notes) -> dict[str, Any]:
    """Return a schema with types in capitals; what Vertex AI does not know is left out and reported."""
    if not isinstance(schema, dict):
        notes.report("L-tool-schema", at)
        return {}
    found: dict[str, Any] = {}
    for key, value in schema.items():
        known = {key: value} if key in SAME else _nested(key, value, f"{at}.{key}", notes)
        if known is None:
            notes.report("L-tool-schema", f"{at}.{key}")
        else:
            found.update(known)
    return found


def _nested(key: str, value: Any, at: str, notes: Notes) -> dict[str, Any] | None:
    """Return a keyword whose value is itself written differently, or None where there is no such keyword."""
    if key == "type":
        return _type(value)
    if key == "enum" and isinstance(value, list) and all(isinstance(choice, str) for choice in value):
        return {key: value}
    if key == "properties" and isinstance(value, dict):
        return {key: {name: gemini_schema(inner, f"{at}.{name}", notes) for name, inner in value.items()}}
    if key == "items" and isinstance(value, dict):
        return {key: gemini_schema(value, at, notes)}
    if key == "anyOf" and isinstance(value, list):
        return {key: [gemini_schema(inner, f"{at}.{index}", notes) for index, inner in enumerate(value)]}
    if key == "additionalProperties":
        return {key: value if isinstance(value, bool) else gemini_schema(value, at, notes)}
    return None


def _type(value: Any) -> dict[str, Any] | None:
    if isinstance(value, str) and value in TYPES:
        return {"type": value.upper()}
    if isinstance(value, list) and len(value) == 2 and value[1] == "null" and value[0] in TYPES - {"null"}:
        return {"type": value[0].upper(), "nullable": True}
    return None
