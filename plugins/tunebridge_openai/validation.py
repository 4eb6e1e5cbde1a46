"""What the service would say of a request and of uploaded rows; the emulator's conscience."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from tunebridge_openai import services

TRAINED = ("supervised", "dpo")
"""Methods that the emulator can really train."""
MIN_ROWS = 10
"""Of a training file."""


class Problem(NamedTuple):
    """Why a request is refused."""

    message: str
    param: str | None = None


def problem_of_request(asked: Mapping[str, Any], *, files: Mapping[str, Any]) -> Problem | None:
    """Return why the service would refuse a create call, None where it would accept it."""
    from openai.types.fine_tuning.job_create_params import JobCreateParams
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(JobCreateParams).validate_python({**asked})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return Problem(first["msg"], ".".join(str(part) for part in first["loc"]))
    unknown = set(asked) - {*JobCreateParams.__annotations__, "trainingType"}
    if unknown:
        return Problem(f"Unrecognized request argument supplied: {sorted(unknown)[0]}", sorted(unknown)[0])
    for part in ("training_file", "validation_file"):
        if asked.get(part) is not None and asked[part] not in files:
            return Problem(f"invalid {part}: {asked[part]}", part)
    return _problem_of_method(asked.get("method") or {}) or _problem_of_extras(asked)


def problem_of_rows(content: bytes, method: str, min_rows: int) -> str | None:
    """Return what is wrong with an uploaded file, with its line, as the service says it after it has read it."""
    rows = 0
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        rows += 1
        try:
            row = json.loads(line)
        except ValueError:
            return f"Invalid file format. Line {number} is not valid JSON."
        if problem := _problem_of_row(row, method):
            return f"Invalid file format. Example {rows} (line {number}): {problem}"
    if rows < min_rows:
        return f"The file has {rows} example(s), but must have at least {min_rows} examples"
    return None


def _problem_of_method(method: Mapping[str, Any]) -> Problem | None:
    word = method.get("type", "supervised")
    if word not in TRAINED:
        return Problem(f"this emulator trains {' and '.join(TRAINED)}, not {word}", "method.type")
    for name, value in method.get(word, {}).get("hyperparameters", {}).items():
        low, high = services.bounds().get(name, (0, float("inf")))
        if value != "auto" and not low <= value <= high:
            return Problem(f"{value} is not between {low:g} and {high:g}", f"method.{word}.hyperparameters.{name}")
    return None


def _problem_of_extras(asked: Mapping[str, Any]) -> Problem | None:
    metadata = asked.get("metadata") or {}
    if len(metadata) > 16 or any(len(key) > 64 or len(value) > 512 for key, value in metadata.items()):
        return Problem("metadata takes 16 pairs, keys of 64 and values of 512 characters", "metadata")
    if len(asked.get("suffix") or "") > 64:
        return Problem("string too long. Expected a string with maximum length 64", "suffix")
    return None


def _problem_of_row(row: Any, method: str) -> str | None:
    if not isinstance(row, dict):
        return "an object was expected"
    if method == "dpo":
        missing = {"input", "preferred_output", "non_preferred_output"} - row.keys()
        return f"missing {sorted(missing)[0]}" if missing else None
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        return "missing messages"
    roles = [message.get("role") if isinstance(message, dict) else None for message in messages]
    if any(role not in ("system", "developer", "user", "assistant", "tool") for role in roles):
        return "a message has no known role"
    return None if roles[-1] == "assistant" else "last message must be from the assistant"
