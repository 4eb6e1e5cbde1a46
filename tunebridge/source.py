"""The text of a job file -> its values and the line of each key: YAML, TOML or JSON."""

import json
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tunebridge.errors import SpecError

SUFFIXES = (".yaml", ".yml", ".toml", ".json")
TOML_TABLE = re.compile(r"\s*\[([A-Za-z0-9_.-]+)\]")
TOML_KEY = re.compile(r"\s*([A-Za-z0-9_.-]+)\s*=")


@dataclass
class Source:
    """The values of a job file and where each stands."""

    values: dict[str, Any]
    place: str
    lines: dict[str, int] = field(default_factory=dict)
    """Dotted key -> line; keys that came from elsewhere have none."""
    overridden: set[str] = field(default_factory=set)

    def where(self, key: str) -> str:
        """Return the place of a key, or of the nearest section around it, for a message."""
        parts = key.split(".")
        for end in range(len(parts), 0, -1):
            prefix = ".".join(parts[:end])
            if prefix in self.overridden:
                return "--set"
            if prefix in self.lines:
                return f"{self.place}:{self.lines[prefix]}"
        return self.place


def read(path: Path) -> Source:
    """Read a job file; SpecError with its line when it is not what its suffix says."""
    if path.suffix not in SUFFIXES:
        raise SpecError(f"A job file ends in {', '.join(SUFFIXES)}. Rename it.", file=path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SpecError("There is no such file. `tunebridge init` writes one to start from.", file=path) from None
    except IsADirectoryError:
        raise SpecError("This is a folder. Give the job file in it.", file=path) from None
    except UnicodeDecodeError:
        raise SpecError("The file is not UTF-8 text. Save it as UTF-8.", file=path) from None
    except OSError as error:
        raise SpecError(f"The file cannot be read: {error.strerror}. Check its permissions.", file=path) from None
    parse = {".json": _parse_json, ".toml": _parse_toml}.get(path.suffix, _parse_yaml)
    source = parse(text, path)
    if not isinstance(source.values, dict) or not source.values:
        raise SpecError("A job file holds keys such as backend, base_model and data; this one has none.", file=path)
    return source


def _parse_yaml(text: str, path: Path) -> Source:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[str, int] = {}
        if node is not None:
            _note_lines(node, "", lines, path)
        return Source(yaml.safe_load(text), str(path), lines)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise SpecError(f"Not valid YAML: {error.problem}. Mend this line.", file=path, line=line) from None
    except (yaml.YAMLError, ValueError) as error:
        raise SpecError(f"Not valid YAML: {error}. Mend it.", file=path) from None


def _note_lines(node: yaml.Node, prefix: str, lines: dict[str, int], path: Path) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        name, line = f"{prefix}{key.value}", key.start_mark.line + 1
        if name in lines:
            message = f"The key `{name}` stands in line {lines[name]} already. Remove one of the two."
            raise SpecError(message, file=path, line=line, key=name)
        lines[name] = line
        _note_lines(value, f"{name}.", lines, path)


def _parse_json(text: str, path: Path) -> Source:
    try:
        return Source(json.loads(text, object_pairs_hook=_pairs), str(path), _json_lines(text, path))
    except json.JSONDecodeError as error:
        raise SpecError(f"Not valid JSON: {error.msg}. Mend this line.", file=path, line=error.lineno) from None
    except ValueError as error:
        raise SpecError(f"{error}. Remove one of the two.", file=path) from None


def _json_lines(text: str, path: Path) -> dict[str, int]:
    """Return where keys stand; JSON is read as YAML for it, and the few texts that are JSON only have no lines."""
    lines: dict[str, int] = {}
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return lines
    if node is not None:
        _note_lines(node, "", lines, path)
    return lines


def _pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in items:
        if key in found:
            raise ValueError(f"The key `{key}` stands there twice")
        found[key] = value
    return found


def _parse_toml(text: str, path: Path) -> Source:
    try:
        return Source(tomllib.loads(text), str(path), _toml_lines(text))
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise SpecError(
            f"Not valid TOML: {error}. Mend this line.", file=path, line=int(line[1]) if line else None
        ) from None


def _toml_lines(text: str) -> dict[str, int]:
    """Return where tables and plain keys stand; keys inside inline tables have the line of their table."""
    lines: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := TOML_TABLE.match(line):
            table = f"{header[1]}."
            lines.setdefault(header[1], number)
        elif key := TOML_KEY.match(line):
            lines.setdefault(table + key[1], number)
    return lines
