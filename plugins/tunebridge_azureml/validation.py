"""What the service would say of a job: checked against the models of the installed SDK, and the values it names."""

import inspect
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from typing import Any

from tunebridge.errors import PluginError

READ_ONLY = ("read",)


def problem_of_job(name: str, properties: Mapping[str, Any]) -> str | None:
    """Return why the service would refuse a job, None where it would accept it."""
    if not (1 <= len(name) <= 255) or not all(sign.isalnum() or sign in "-_" for sign in name):
        return f"The job name {name!r} is not valid."
    found = problem_of(properties, "JobBaseProperties")
    if found is None and properties["jobType"] == "Command" and not properties["command"].strip():
        return "properties.command: must not be empty"
    return found


def problem_of(properties: Mapping[str, Any], model: str) -> str | None:
    """Return how a resource's properties depart from the SDK's model of that name, None where they do not."""
    from azure.ai.ml._restclient.arm_ml_service import models

    return next(_problems(properties, getattr(models, model), "properties"), None)


def _problems(value: Any, kind: Any, path: str) -> Iterator[str]:
    """Yield where a value departs from a type of the SDK's models."""
    origin = typing.get_origin(kind)
    if origin is dict:
        yield from _problems_of_map(value, typing.get_args(kind)[1], path)
    elif origin is list:
        for number, part in enumerate(value if isinstance(value, list) else [value]):
            yield from _problems(part, typing.get_args(kind)[0], f"{path}[{number}]")
    elif origin is typing.Union:
        yield from _problems_of_union(value, kind, path)
    elif origin is typing.Literal and value not in typing.get_args(kind):
        yield f"{path}: {value!r} is not among {typing.get_args(kind)}"
    elif inspect.isclass(kind) and hasattr(kind, "_deserialize"):
        yield from _problems_of_model(value, kind, path)
    elif kind in (str, int, bool, float) and not isinstance(value, kind):
        yield f"{path}: {kind.__name__} was expected, not {type(value).__name__}"
    elif kind is type(None) and value is not None:
        yield f"{path}: nothing was expected"


def _problems_of_union(value: Any, kind: Any, path: str) -> Iterator[str]:
    parts = [part for part in typing.get_args(kind) if part is not type(None)]
    words = [str(word.value) for part in parts if inspect.isclass(part) and issubclass(part, Enum) for word in part]
    if words and isinstance(value, str):
        # The SDK lets new words through, the service does not; in some the SDK itself writes another case.
        if value.lower() not in {word.lower() for word in words}:
            yield f"{path}: {value!r} is not among {words}"
    elif not any(next(_problems(value, part, path), None) is None for part in typing.get_args(kind)):
        yield from _problems(value, parts[-1], path)


def _problems_of_map(value: Any, kind: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: an object was expected"
        return
    for key, part in value.items():
        yield from _problems(part, kind, f"{path}.{key}")


def _problems_of_model(value: Any, model: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: an object was expected"
        return
    model, word = _resolved(model, value)
    if model is None:
        yield f"{path}: {word!r} is no known kind"
        return
    fields = _fields(model)
    for unknown in sorted(value.keys() - fields.keys()):
        yield f"{path}: unknown field {unknown!r}"
    for name, (kind, is_required) in fields.items():
        if is_required and value.get(name) is None:
            yield f"{path}.{name}: is required"
        elif value.get(name) is not None:
            yield from _problems(value[name], kind, f"{path}.{name}")


def _resolved(model: Any, value: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the subclass that a value's discriminator names, None where it names no known one."""
    mapping = getattr(model, "__mapping__", {})
    while mapping and not any(model is known for known in mapping.values()):
        word = next((value[key] for key in (_discriminator(model),) if key in value), None)
        if word not in mapping:
            return None, word
        model = mapping[word]
        mapping = model.__dict__.get("__mapping__", {})
    return model, None


@cache
def _discriminator(model: Any) -> str:
    model({})  # the SDK fills its table of fields at the first use
    fields = model._attr_to_rest_field.values()
    return next(str(field._rest_name) for field in fields if field._is_discriminator)


@cache
def _fields(model: Any) -> dict[str, tuple[Any, bool]]:
    """Return the fields of a model as they are on the wire: type, and whether one has to be there."""
    from azure.ai.ml._restclient.arm_ml_service import models

    model({})
    kinds: dict[str, Any] = {}
    for base in reversed(model.__mro__):
        kinds |= inspect.get_annotations(base) if hasattr(base, "_deserialize") else {}
    found = {}
    for attribute, field in model._attr_to_rest_field.items():
        kind = _read(kinds.get(attribute, Any), models)
        is_optional = kind is Any or type(None) in typing.get_args(kind)
        found[str(field._rest_name)] = (kind, not is_optional and tuple(field._visibility or ()) != READ_ONLY)
    return found


def _read(kind: Any, models: Any) -> Any:
    """Return an annotation with the names of models replaced by the models."""
    if isinstance(kind, str):
        return getattr(models, kind.removeprefix("_models."))
    if isinstance(kind, typing.ForwardRef):
        return _read(kind.__forward_arg__, models)
    if typing.get_origin(kind) is typing.Literal:
        return kind
    origin, arguments = typing.get_origin(kind), tuple(_read(part, models) for part in typing.get_args(kind))
    if origin in (dict, list):
        return origin[arguments if len(arguments) > 1 else arguments[0]]
    if origin is typing.Union:
        return typing.Union[arguments]  # noqa: UP007 (made of values, not written)
    if origin is not None:
        raise PluginError(f"azure-ai-ml annotates a field with {kind!r}, which the emulator does not know. Report it.")
    return kind
