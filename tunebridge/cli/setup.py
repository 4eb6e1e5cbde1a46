"""quickstart, init, backends, schema, check-plugin: getting started and looking around."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunebridge.cli.options import Json
from tunebridge.errors import SpecError

if TYPE_CHECKING:
    from tunebridge.backend import BackendInfo
    from tunebridge.plugins import Plugins

STARTER_JOB = """\
# yaml-language-server: $schema=job.schema.json
backend: local                  # `tunebridge backends` lists what is there
base_model: tunebridge/nano     # a toy for trials; a model folder or a hub id works in its place
data:
  train: train.jsonl            # one JSON object per line: {"messages": [{"role": ..., "content": ...}, ...]}
  validation: 20%               # a share of the rows, or a file of its own
method:
  type: sft
  adapter: {type: lora, rank: 16}
hyperparameters:
  epochs: 3
  # learning_rate: 5.0e-3       # unset fields are the backend's own choice; `tunebridge plan` shows them
budget:
  max_hours: 1
"""


def add_to(app: typer.Typer) -> None:
    """Add these commands to the tree."""
    app.command("quickstart", epilog="Example: tunebridge quickstart --full")(quickstart)
    app.command("init", epilog="Example: tunebridge init my-job")(init)
    app.command("backends", epilog="Example: tunebridge backends local")(backends)
    app.command("schema", epilog="Example: tunebridge schema > job.schema.json")(schema)
    app.command("check-plugin", epilog="Example: tunebridge check-plugin echo")(check_plugin)


def quickstart(
    full: Annotated[bool, typer.Option("--full", help="All eleven areas instead of six; takes longer.")] = False,
    folder: Annotated[Path, typer.Option(help="Folder for the rows, the job file and the results.")] = Path(
        "quickstart"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Use the folder although it is there already.")] = False,
    as_json: Json = False,
) -> None:
    """Tune a small model on this machine, on real rows, and show by how much it got better.

    The task: say to which area of CPython a changelog entry belongs. Takes less than three minutes on two cores.
    """
    from tunebridge.cli.quickstart import run

    run(folder, full=full, seed=seed, reuse=yes, as_json=as_json)


def init(
    folder: Annotated[Path, typer.Argument(help="Folder to write the job file and rows into.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a job file to start from, with some rows and the schema with which editors complete it."""
    import json

    from tunebridge import quickstart as material
    from tunebridge import specfile
    from tunebridge.cli import render

    rows = material.split(material.load_entries(full=False))["train"][:200]
    contents = {
        "job.yaml": STARTER_JOB,
        "train.jsonl": "".join(material.chat_line(entry) for entry in rows),
        "job.schema.json": json.dumps(specfile.schema(_options()), indent=2) + "\n",
    }
    present = [name for name in contents if (folder / name).exists()]
    if present and not force:
        raise SpecError(f"{folder} has {', '.join(present)} already. Choose another folder, or pass --force.")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_text(content, encoding="utf-8")
    if as_json:
        render.document({"files": [folder / name for name in contents]})
    else:
        render.text(f"Wrote {', '.join(str(folder / name) for name in contents)}")
        render.text(f"Next: tunebridge plan {folder / 'job.yaml'}")


def backends(
    name: Annotated[str | None, typer.Argument(help="Show one backend in full, and whether it can be reached.")] = None,
    as_json: Json = False,
) -> None:
    """List the backends: what is there, what is installed, what each can do."""
    from tunebridge.client import Client

    client = Client()
    if name is None:
        _list_backends(client.plugins, as_json=as_json)
    else:
        info = client.plugins.backend(name)
        _show_backend(info, client.check(name), as_json=as_json)


def schema(
    rows: Annotated[bool, typer.Option("--rows", help="The schema of canonical rows instead.")] = False,
) -> None:
    """Print the JSON schema of job files, with which editors complete and check them."""
    from tunebridge import specfile
    from tunebridge.cli import render
    from tunebridge.data.example import row_schema

    render.document(row_schema() if rows else specfile.schema(_options()))


def check_plugin(
    name: Annotated[str, typer.Argument(help="Backend to check.")],
    as_json: Json = False,
) -> None:
    """Run the conformance suite on an installed backend; exit code 1 when a check fails."""
    from tunebridge.cli import render
    from tunebridge.testing.conformance import check_plugin as check

    report = check(name)
    if as_json:
        render.document({"backend": name, "passed": report.passed, "checks": report.results})
    else:
        render.table(("check", "outcome", "why"), [(r.check, r.outcome, r.reason) for r in report.results])
        render.text(report.summary)
    if not report.passed:
        raise typer.Exit(1)


def _options() -> dict[str, type]:
    from tunebridge.plugins import discover

    return {name: info.options for name, info in discover().backends().items() if info.options}


def _list_backends(plugins: "Plugins", *, as_json: bool) -> None:
    from tunebridge.cli import render
    from tunebridge.plugins import missing_requirement

    known = plugins.backends()
    missing = {name: missing_requirement(info) for name, info in known.items()}
    if as_json:
        rows = [{**_describe(info), "missing": missing[name]} for name, info in known.items()]
        render.document({"backends": rows, "broken": [vars(broken) for broken in plugins.broken]})
        return
    render.table(
        ("backend", "what", "installed", "methods", "adapters"),
        [
            (
                name,
                info.title,
                "yes" if missing[name] is None else f'no: pip install "tunebridge[{info.extra}]"',
                ", ".join(sorted(info.capabilities.methods)),
                ", ".join(sorted(info.capabilities.adapters)),
            )
            for name, info in known.items()
        ],
    )
    for info in known.values():
        if info.notice:
            render.warning(f"{info.name}: {info.notice}")
    for broken in plugins.broken:
        render.warning(f"the plugin {broken.name} could not be loaded: {broken.reason}")


def _show_backend(info: "BackendInfo", check: object, *, as_json: bool) -> None:
    from tunebridge.cli import render

    if as_json:
        render.document({**_describe(info), "check": check})
        return
    render.text(f"{info.name}: {info.title}")
    if info.notice:
        render.warning(info.notice)
    found = render.plain(check)
    render.text(f"{'ready' if found['ok'] else 'not ready'}: {found['detail']}\n")
    rows = render.plain(info.capabilities.model_dump(mode="json"))
    written = {key: ", ".join(sorted(value)) if isinstance(value, list) else str(value) for key, value in rows.items()}
    render.table(("capability", ""), [(key.replace("_", " "), value) for key, value in written.items()])
    if info.options:
        fields = info.options.model_json_schema()["properties"]
        options = [
            (name, str(field.get("default", "")), field.get("description", "")) for name, field in fields.items()
        ]
        render.table((f"options.{info.name}", "default", ""), options, title="")


def _describe(info: "BackendInfo") -> dict[str, object]:
    return {
        "name": info.name,
        "title": info.title,
        "extra": info.extra,
        "notice": info.notice,
        "capabilities": info.capabilities,
        "options": info.options.model_json_schema() if info.options else None,
    }
