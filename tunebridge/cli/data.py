"""tunebridge data: look at rows before they cost something."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from tunebridge.cli import preview
from tunebridge.cli.options import Json

app = typer.Typer(help="Check rows before they are trained on.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def common() -> None:
    """Check rows before they are trained on."""


@app.command(epilog="Example: tunebridge data check train.jsonl validation.jsonl")
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of rows: .jsonl, .jsonl.gz, .json.")],
    format_: Annotated[str | None, typer.Option("--format", help="Shape of the rows, where it is not clear.")] = None,
    as_json: Json = False,
) -> None:
    """Check files of rows; exit code 2 when a row is broken."""
    from tunebridge.cli import render
    from tunebridge.client import Client

    client = Client()
    read = [client.check_rows(path, format=format_) for path in files]
    problems = [problem for _, found in read for problem in found]
    kinds = Counter(row.example.kind for rows, _ in read for row in rows)
    rows = sum(len(found) for found, _ in read)
    counts = Counter(problem.code for problem in problems)
    if as_json:
        render.document({"problems": problems, "counts": counts, "kinds": kinds, "rows": rows})
    else:
        render.problems(problems)
        kind = ", ".join(f"{count:,} {name}" for name, count in kinds.items()) or "no"
        render.text(f"{kind} rows, {len(problems)} problem(s)")
    if any(problem.severity == "error" for problem in problems):
        raise typer.Exit(2)


preview.add_to(app)
