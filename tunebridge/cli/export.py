"""export: a job's result in another form, on this machine or on the hub."""

from pathlib import Path
from typing import Annotated

import typer

from tunebridge.cli.options import JobId, Json


def add_to(app: typer.Typer) -> None:
    """Add this command to the tree."""
    app.command("export", epilog="Example: tunebridge export last --to gguf -o ./tuned")(export)


def export(
    job: JobId,
    to: Annotated[str, typer.Option(help="merged (a whole model), safetensors (as trained) or gguf (one file).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; it must not exist.")],
    push: Annotated[str | None, typer.Option(metavar="REPO", help="Upload it to this repository of the hub.")] = None,
    as_json: Json = False,
) -> None:
    """Write a job's result as a whole model, as it was trained, or as one GGUF file."""
    from tunebridge.cli import render
    from tunebridge.client import Client

    with render.waiting(f"{job} is being exported ..."):
        folder = Client().export(job, output, to=to, push=push)
    pushed = f", and pushed to {push}" if push else ""
    render.document({"folder": folder, "pushed": push}) if as_json else render.text(f"Written to {folder}{pushed}")
