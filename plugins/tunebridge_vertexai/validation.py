"""What the service would say of a request and of uploaded rows, by Google's own discovery document.

Rules: keys in snake or camel case, int64 as a number or its digits, enums by name or index; fields that only the
service sets are refused. The document marks nothing as required but in prose, so those few are named here.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

PREFIX = "GoogleCloudAiplatform"
REQUIRED = {
    "SupervisedTuningSpec": ("trainingDatasetUri",),
    "PreferenceOptimizationSpec": ("trainingDatasetUri",),
    "CustomJob": ("displayName", "jobSpec"),
    "CustomJobSpec": ("workerPoolSpecs",),
    "ContainerSpec": ("imageUri",),
}
LABEL_KEY = r"[a-z][a-z0-9_-]{0,62}"
LABEL_VALUE = r"[a-z0-9_-]{0,63}"


def camel(value: Any, schema: str, version: str = "v1beta1") -> Any:
    """Return a request with keys in camel case, as the service keeps it; free-form objects stay as they are."""
    properties = _schemas(version)[_full(schema, version)].get("properties", {})
    return {_camel(key): _camel_value(inner, properties.get(_camel(key), {}), version) for key, inner in value.items()}


def problem(value: Any, schema: str, version: str = "v1beta1", at: str = "") -> str | None:
    """Return what is wrong with a value of a message type, with its place; None where nothing is."""
    return next(_problems(value, {"$ref": _full(schema, version)}, version, at), None)


def problem_of_labels(labels: Mapping[str, str]) -> str | None:
    """Return which label breaks Google's rules."""
    for key, value in labels.items():
        if not re.fullmatch(LABEL_KEY, key) or not re.fullmatch(LABEL_VALUE, str(value)):
            return f"Invalid label {key}: keys and values are lower case letters, digits, underscores and hyphens"
    return None


def problem_of_rows(content: bytes, check: Callable[[Any], str | None]) -> str | None:
    """Return what is wrong with an uploaded file, with its line."""
    count = 0
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        count += 1
        try:
            row = json.loads(line)
        except ValueError:
            return f"Row {number}: not valid JSON"
        if wrong := "an object was expected" if not isinstance(row, dict) else check(row):
            return f"Row {number}: {wrong}"
    return None if count else "the file has no rows"


def _problems(value: Any, field: Mapping[str, Any], version: str, at: str) -> Iterator[str]:
    if field.get("readOnly"):
        yield f"{at}: only the service sets this field"
    elif "$ref" in field:
        yield from _problems_of_message(value, field["$ref"], version, at)
    elif field.get("type") == "array":
        if not isinstance(value, list):
            yield f"{at}: a list was expected"
        else:
            for number, inner in enumerate(value):
                yield from _problems(inner, field["items"], version, f"{at}[{number}]")
    elif not _fits(value, field):
        yield f"Invalid value at '{at}' ({field.get('format') or field.get('type')})"


def _problems_of_message(value: Any, name: str, version: str, at: str) -> Iterator[str]:
    schema = _schemas(version)[name]
    if not isinstance(value, dict):
        yield f"{at}: an object was expected"
        return
    properties = schema.get("properties")
    if properties is None:  # a free-form object
        return
    keys = {_camel(key): inner for key, inner in value.items()}
    for key, inner in keys.items():
        place = f"{at}.{key}".removeprefix(".")
        if key not in properties:
            yield f"Invalid JSON payload received. Unknown name \"{key}\" at '{at}': Cannot find field."
        else:
            yield from _problems(inner, properties[key], version, place)
    for missing in REQUIRED.get(name.removeprefix(_full("", version)), ()):
        if missing not in keys:
            yield f"{at}.{missing} is required".removeprefix(".")


def _fits(value: Any, field: Mapping[str, Any]) -> bool:
    kind, form = field.get("type"), field.get("format", "")
    if "enum" in field:
        return value in field["enum"] or (isinstance(value, int) and 0 <= value < len(field["enum"]))
    if form in ("int64", "uint64", "int32", "uint32"):
        return not isinstance(value, bool) and re.fullmatch(r"-?\d+", str(value)) is not None
    checks: dict[str | None, Callable[[Any], bool]] = {
        "string": lambda v: isinstance(v, str),
        "boolean": lambda v: isinstance(v, bool),
        "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
        "object": lambda v: isinstance(v, dict),
    }
    return checks.get(kind, lambda v: True)(value)


def _camel_value(value: Any, field: Mapping[str, Any], version: str) -> Any:
    if "$ref" in field and isinstance(value, dict):
        return camel(value, field["$ref"].removeprefix(_full("", version)), version)
    if field.get("type") == "array" and isinstance(value, list):
        return [_camel_value(inner, field["items"], version) for inner in value]
    return value


def _camel(key: str) -> str:
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), key)


def _full(name: str, version: str) -> str:
    return f"{PREFIX}{version.capitalize()}{name}"


@cache
def _schemas(version: str) -> dict[str, Any]:
    text = files("tunebridge_vertexai").joinpath("published", f"aiplatform.{version}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)["schemas"]
    return found
