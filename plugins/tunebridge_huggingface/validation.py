"""What the service would say of a job, by the requests that huggingface_hub 2.4.0 makes of its arguments."""

from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], bool]


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _named(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) for one in (*value, *value.values()))


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


JOB: Mapping[str, Check] = {
    "command": _texts,
    "arguments": _texts,
    "environment": _named,
    "secrets": _named,
    "flavor": _text,
    "timeoutSeconds": _number,
    "attempts": _number,
    "labels": _named,
    "volumes": lambda value: isinstance(value, list),
    "dockerImage": _text,
    "spaceId": _text,
}
NEEDED = ("command", "arguments", "environment", "flavor")
VOLUME: Mapping[str, Check] = {
    "type": lambda value: value in ("bucket", "model", "dataset", "space"),
    "source": lambda value: _text(value) and value.count("/") == 1,
    "mountPath": lambda value: _text(value) and value.startswith("/"),
    "revision": _text,
    "readOnly": lambda value: isinstance(value, bool),
    "path": _text,
}
NEEDED_OF_VOLUME = ("type", "source", "mountPath")


def problem_of_job(asked: Any, flavors: set[str]) -> str | None:
    """Return why the service would refuse a job, None where it would take it."""
    if wrong := _problem(asked, JOB, NEEDED):
        return wrong
    if ("dockerImage" in asked) == ("spaceId" in asked):
        return "either dockerImage or spaceId is needed"
    if asked["flavor"] not in flavors:
        return f"Invalid flavor: {asked['flavor']}"
    return next(filter(None, (_problem(one, VOLUME, NEEDED_OF_VOLUME) for one in asked.get("volumes", []))), None)


def _problem(value: Any, checks: Mapping[str, Check], needed: tuple[str, ...]) -> str | None:
    if not isinstance(value, dict):
        return "an object was expected"
    for key, inner in value.items():
        if key not in checks:
            return f"Unrecognized key: {key}"
        if not checks[key](inner):
            return f"Invalid value of {key}"
    return next((f"{key} is needed" for key in needed if key not in value), None)
