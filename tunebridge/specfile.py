"""Job files -> JobSpec: the only reader of job files; every error names file, line and key."""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from tunebridge.errors import SpecError
from tunebridge.source import Source, read
from tunebridge.spec import JobSpec

SECRET = re.compile(
    r"(^|_)(api_?key|secret(_?key)?|password|passwd|token|credentials?|private_?key|access_?key)$", re.I
)
SECRET_HINT = (
    "Secrets never stand in a job file; they come from the backend's standard environment or credential chain."
)


def load(path: Path, overrides: Sequence[str] = (), *, backend: str | None = None) -> JobSpec:
    """Read a job file, apply `key.path=value` overrides and another backend, and return the JobSpec.

    Relative data files are relative to the job file's folder. SpecError names every problem at once.
    """
    source = read(path)
    for override in overrides:
        _override(source, override)
    if backend is not None:
        source.values["backend"] = backend
        source.overridden.add("backend")
    _resolve_files(source, path.absolute().parent)
    return _validate(source)


def from_values(values: Mapping[str, Any], *, folder: Path | None = None, place: str = "job") -> JobSpec:
    """Return the JobSpec of plain values, with the errors of a job file; `folder` is where relative files lie."""
    source = Source(dict(values), place)
    _resolve_files(source, folder or Path.cwd())
    return _validate(source)


def schema(options: Mapping[str, type[BaseModel]] | None = None) -> dict[str, Any]:
    """Return the JSON schema of a job file; `options` are the schemas of the backends' own sections."""
    document = JobSpec.model_json_schema()
    definitions = document.setdefault("$defs", {})
    for section, short in (("method", "Method"), ("adapter", "Adapter")):
        owner = document if section == "method" else definitions["Method"]
        known = definitions[short]["properties"]["type"]
        choice = {"enum": known["enum"]} if "enum" in known else {"type": "string"}
        owner["properties"][section] = {**owner["properties"][section], "anyOf": [{"$ref": f"#/$defs/{short}"}, choice]}
        owner["properties"][section].pop("$ref", None)
    sections = {}
    for name, model in sorted((options or {}).items()):
        inner = model.model_json_schema()
        definitions.update(inner.pop("$defs", {}))
        sections[name] = inner
    document["properties"]["options"]["properties"] = sections
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **document, "title": "TuneBridge job"}


def _override(source: Source, override: str) -> None:
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not re.fullmatch(r"[A-Za-z_][\w-]*(\.[\w-]+)*", key):
        raise SpecError(f"--set {override!r} is not of the form key.path=value. Write for example epochs=2 in full: "
                        f"--set hyperparameters.epochs=2", key=key)  # fmt: skip
    *sections, name = key.split(".")
    target = source.values
    for section in sections:
        inner = target.get(section)
        # A short form such as `method: sft` becomes the section that it stands for.
        target[section] = dict(inner) if isinstance(inner, dict) else {} if inner is None else {"type": inner}
        target = target[section]
    try:
        target[name] = yaml.safe_load(text)
    except yaml.YAMLError:
        target[name] = text
    source.overridden.add(key)


def _resolve_files(source: Source, folder: Path) -> None:
    """Make data files and model folders absolute, relative to the job file."""
    data = source.values.get("data")
    if isinstance(data, dict):
        files = {key: _from_folder(data[key], folder) for key in ("train", "validation") if key in data}
        source.values["data"] = {**data, **files}
    source.values |= (
        {"base_model": _absolute(source.values["base_model"], folder)} if "base_model" in source.values else {}
    )


def _absolute(model: Any, folder: Path) -> Any:
    if isinstance(model, dict):
        return {backend: _absolute(name, folder) for backend, name in model.items()}
    return str(folder / model) if isinstance(model, str) and model.startswith(("./", "../")) else model


def _from_folder(value: Any, folder: Path) -> Any:
    """Return a file, or each of several, as an absolute path; a share and a URL stay as they are."""
    if isinstance(value, list | tuple):
        return [_from_folder(each, folder) for each in value]
    return str(folder / value) if _is_file(value) else value


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and not value.strip().endswith("%") and "://" not in value


def _validate(source: Source) -> JobSpec:
    secret = next(_secret_keys(source.values, ""), None)
    if secret:
        raise SpecError(f"{source.where(secret)}: `{secret}` looks like a secret. {SECRET_HINT}", key=secret)
    try:
        return JobSpec.model_validate(source.values)
    except ValidationError as error:
        problems = [_sentence(problem, source) for problem in error.errors(include_url=False)]
        key = ".".join(_key(error.errors()[0]["loc"]))
        raise SpecError("\n".join(dict.fromkeys(problems)), key=key) from None


def _secret_keys(values: Any, prefix: str) -> Any:
    if isinstance(values, dict):
        for key, value in values.items():
            if isinstance(key, str) and SECRET.search(key) and value is not None:
                yield f"{prefix}{key}"
            yield from _secret_keys(value, f"{prefix}{key}.")


def _sentence(problem: Any, source: Source) -> str:
    parts = _key(problem["loc"])
    key = ".".join(parts)
    place = source.where(key)
    if problem["type"] == "extra_forbidden":
        return f"{place}: unknown key `{key}`.{_nearest(parts)}"
    if problem["type"] == "missing":
        return f"{place}: `{key}` is missing. Add it."
    message = problem["msg"].removeprefix("Value error, ")
    found = "" if isinstance(problem["input"], dict) else f", not {problem['input']!r}"
    found = "" if problem["type"] == "value_error" else found
    return f"{place}: `{key}`: {message[:1].lower()}{message[1:]}{found}."


def _key(location: Sequence[int | str]) -> list[str]:
    """Return the parts of a key without the names of types that pydantic puts between them."""
    parts = [str(part) for part in location]
    return [
        part
        for part in parts
        if not re.fullmatch(r"(function-.*|constrained-.*|dict\[.*|literal\[.*|str|int|float|is-instance.*)", part)
    ]


def _nearest(parts: Sequence[str]) -> str:
    known = list(_fields(parts[:-1]))
    near = difflib.get_close_matches(parts[-1], known, n=1)
    if near:
        return f" Did you mean `{near[0]}`?"
    elsewhere = [path for path in _all_keys(JobSpec, "") if path.split(".")[-1] == parts[-1]]
    if elsewhere:
        return f" Did you mean `{elsewhere[0]}`?"
    return f" Known here are: {', '.join(known)}." if known else ""


def _fields(sections: Sequence[str]) -> Sequence[str]:
    model: type[BaseModel] | None = JobSpec
    for section in sections:
        model = _model_of(model, section) if model else None
    return list(model.model_fields) if model else []


def _model_of(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    annotation = model.model_fields[name].annotation if name in model.model_fields else None
    candidates = (annotation, *get_args(annotation))
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)


def _all_keys(model: type[BaseModel], prefix: str) -> list[str]:
    keys = []
    for name in model.model_fields:
        inner = _model_of(model, name)
        keys += _all_keys(inner, f"{prefix}{name}.") if inner else [prefix + name]
    return keys
