"""Write the generated reference: `make docs`. A test compares it with the code."""

import json
from pathlib import Path
from typing import Any

from tools import dataset_targets
from tunebridge import specfile
from tunebridge.plugins import discover

FOLDER = Path(__file__).parent.parent / "docs" / "reference"


def job_file() -> str:
    """Return the reference of the job file."""
    options = {name: info.options for name, info in discover().backends().items() if info.options}
    schema = specfile.schema(options)
    parts = ["# Job file\n\nWritten by `make docs`. A field without a default is required or the backend's choice."]
    parts.append(_section("top level", schema))
    for name in ("DataSpec", "Method", "Adapter", "Hyperparameters", "Budget", "Allow"):
        parts.append(_section(name, schema["$defs"][name]))
    for name, section in schema["properties"]["options"]["properties"].items():
        parts.append(_section(f"options.{name}", section))
    return "\n\n".join(parts) + "\n"


def _section(title: str, schema: dict[str, Any]) -> str:
    rows = [
        f"| `{name}` | {_type(field)} | {_default(field)} | {_describe(field)} |"
        for name, field in schema["properties"].items()
    ]
    return f"## {title}\n\n| field | type | default | |\n|---|---|---|---|\n" + "\n".join(rows)


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return str(field["$ref"]).rsplit("/", 1)[1]
    if "enum" in field:
        return " \\| ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if "anyOf" in field:
        return " or ".join(_type(choice) for choice in field["anyOf"] if choice.get("type") != "null")
    return str(field.get("type", "any"))


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    return "" if default in (None, {}, [], "") or isinstance(default, dict) else f"`{default}`"


def _describe(field: dict[str, Any]) -> str:
    return str(field.get("description", "")).replace("\n", " ").replace("|", "\\|")


def command_line() -> str:
    """Return the reference of the command line."""
    import typer.main

    from tunebridge.cli.app import app

    root = typer.main.get_command(app)
    parts = [
        "# Command line\n\nWritten by `make docs` from the code. Exit codes: 0 done, 1 the backend failed, 2 you can "
        'mend it, 3 a gate said no, 130 interrupted. With `--json` an error is `{"error": {"type", "message"}}`.'
    ]
    parts += [_command(name, command) for name, command in _commands("tunebridge", root)]
    return "\n\n".join(parts) + "\n"


def _commands(name: str, command: Any) -> list[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        return [(name, command)]
    return [found for key, value in inner.items() for found in _commands(f"{name} {key}", value)]


def _command(name: str, command: Any) -> str:
    lines = [f"## {name}", command.help or ""]
    for parameter in command.params:
        label = ", ".join(f"`{option}`" for option in parameter.opts) if parameter.param_type_name == "option" else ""
        label = label or f"`{parameter.metavar or parameter.name}`"
        lines.append(f"- {label}: {getattr(parameter, 'help', '') or ''}")
    if command.epilog:
        lines.append(f"    {command.epilog}")
    return "\n\n".join([*lines[:2], "\n".join(lines[2:])])


def backends() -> str:
    """Return what each backend offers, as it declares it."""
    infos = discover().backends()
    head = "| | " + " | ".join(f"`{name}`" for name in infos) + " |\n|---|" + "---|" * len(infos)
    declared = [info.capabilities for info in infos.values()]
    rows = [_row(field, [getattr(can, field) for can in declared]) for field in TOLD]
    values = sorted(frozenset[str]().union(*(can.fields for can in declared)))
    rows += [_row(value, [value in can.fields for can in declared]) for value in values if value[:8] != "options."]
    notices = [f"- `{name}`: {info.notice}" for name, info in infos.items() if info.notice]
    return "\n\n".join(
        [
            "# Backends\n\nWritten by `make docs` from what the backends declare; the conformance suite tests each "
            "entry in both directions.",
            "Where a backend has several modes or models, a mark says that one of them offers it; `tunebridge plan` "
            "says what holds for the job at hand.",
            f"{head}\n" + "\n".join(rows),
            "## Notices\n\n" + "\n".join(notices) + "\n",
        ]
    )


TOLD = (
    "methods",
    "adapters",
    "dataset_kinds",
    "dataset_features",
    "validation_data",
    "cancel",
    "pause",
    "resume",
    "events",
    "metrics",
    "inference",
    "deploy",
    "download",
    "list_jobs",
    "delete",
)


def _row(name: str, values: list[Any]) -> str:
    cells = [", ".join(sorted(value)) if isinstance(value, frozenset) else "yes" if value else "" for value in values]
    return f"| `{name}` | " + " | ".join(cells) + " |"


def costs() -> str:
    """Return the form of what `tunebridge estimate --json` prints."""
    from tunebridge.cost.comparison import Comparison

    schema = Comparison.model_json_schema(mode="serialization")
    parts = [
        "# Costs\n\nWritten by `make docs`. What `tunebridge estimate --json` prints; the JSON schema is "
        "[costs.schema.json](costs.schema.json). Money is in US dollars, as numbers; `null`: not known, never nothing."
    ]
    parts.append(_section("the document", schema))
    parts += [_section(name, definition) for name, definition in schema["$defs"].items()]
    return "\n\n".join(parts) + "\n"


def costs_schema() -> str:
    """Return the JSON schema of the same document."""
    from tunebridge.cost.comparison import Comparison

    return json.dumps(Comparison.model_json_schema(mode="serialization"), indent=1) + "\n"


def evaluation() -> str:
    """Return the keys of the documents that `evaluate --json` and `compare --json` print."""
    from tunebridge.evaluation.pareto import Choice
    from tunebridge.evaluation.result import Evaluation

    parts = [
        "# Evaluation\n\nWritten by `make docs`: the keys of what `tunebridge evaluate --json` and `tunebridge compare "
        "--json` print. Keys are added, never renamed or removed, within a version of `format`."
    ]
    for title, model in (("evaluate --json", Evaluation), ("compare --json", Choice)):
        schema = model.model_json_schema(mode="serialization")
        parts.append(_section(title, schema))
        parts += [_section(name, inner) for name, inner in schema["$defs"].items() if "properties" in inner]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write every page."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)


def pages() -> dict[str, str]:
    """Return every generated page by its file name."""
    return {
        "job_file.md": job_file(),
        "command_line.md": command_line(),
        "backends.md": backends(),
        "evaluation.md": evaluation(),
        "dataset_targets.md": dataset_targets.page(),
        "costs.md": costs(),
        "costs.schema.json": costs_schema(),
    }


if __name__ == "__main__":
    main()
