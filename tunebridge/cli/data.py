"""tunebridge data: look at rows before they cost something."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunebridge.cli import preview
from tunebridge.cli.options import Json

if TYPE_CHECKING:
    from tunebridge.spec import DataSpec

app = typer.Typer(help="Check, convert and split rows.", no_args_is_help=True, rich_markup_mode=None)

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE...",
        help="Files of rows: .jsonl, .json, .csv, .tsv (also .gz, .zst), .parquet, .arrow, a folder, a pattern, a URL.",
    ),
]
HeldOut = Annotated[list[str] | None, typer.Option("--validation", help="File of held-out rows; repeatable.")]
Format = Annotated[str | None, typer.Option("--format", help="Shape of the rows, where it is not clear.")]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="OURS=THEIRS", help="Name of a column, such as prompt=question; repeatable."),
]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes that read; the result is the same.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")]


@app.callback()
def common() -> None:
    """Check, convert and split rows before they are trained on."""


@app.command(epilog="Example: tunebridge data check train.jsonl --validation held_out.jsonl --for local")
def check(  # noqa: PLR0913  # each is an option of the command
    files: Files,
    validation: HeldOut = None,
    target: Annotated[
        str | None, typer.Option("--for", metavar="BACKEND", help="Backend, or BACKEND/SHAPE, that is to take them.")
    ] = None,
    format_: Format = None,
    columns: Columns = None,
    rejected: Annotated[Path | None, typer.Option("--rejected", help="File for the rows that are wrong.")] = None,
    max_errors: Annotated[int, typer.Option("--max-errors", min=1, help="Errors that are listed.")] = 50,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Count tokens for this model, and tell which rows are too long.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=8, help="Tokens per row at most [default: the model's or the backend's limit].")
    ] = None,
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    """Check files of rows; exit code 2 when a row is wrong.

    The codes stand in the reference of checks. With --json: problems, counts, kinds, kind, rows, rejected, formats.
    """
    from tunebridge.cli import render
    from tunebridge.client import Client
    from tunebridge.rows import Options

    data = _data(files, validation, format_, columns)
    with render.reading("checking", quiet=as_json) as progress:
        options = Options(workers, max_errors, rejected, model=model, max_tokens=max_length, progress=progress)
        checked = Client().rows.check(data, target=target, options=options)
    report = checked.report
    if as_json:
        kind = next(iter(report.kinds)) if len(report.kinds) == 1 else None
        target_rows = {"target": checked.target} if checked.target else {}
        render.document({**vars(report), "problems": checked.problems, "kind": kind, **target_rows})
    else:
        render.checked(report, checked.problems, checked.target)
        if rejected is not None:
            render.text(f"{report.rejected:,} rows that are wrong were written to {rejected}")
    if checked.errors:
        raise typer.Exit(2)


@app.command(epilog="Example: tunebridge data convert train.jsonl --to openai -o converted")
def convert(  # noqa: PLR0913
    files: Files,
    output: Output,
    target: Annotated[str, typer.Option("--to", metavar="BACKEND", help="Backend, or BACKEND/SHAPE.")],
    validation: HeldOut = None,
    lossy: Annotated[str, typer.Option(help="For rows that lose something: error, warn or allow.")] = "warn",
    format_: Format = None,
    columns: Columns = None,
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    """Write rows in the shape that a service takes, within its limits; nothing is written where a row is refused."""
    from tunebridge.cli import render
    from tunebridge.client import Client
    from tunebridge.rows import Options

    data = _data(files, validation, format_, columns, lossy=lossy)
    with render.reading("converting", quiet=as_json) as progress:
        done = Client().rows.convert(data, target, output, options=Options(workers, progress=progress))
    if as_json:
        render.document({"files": done.files, "target": done.rows, "problems": done.problems})
    else:
        render.checked(done.report, done.problems, done.rows)
        render.text(f"Wrote {', '.join(str(path) for path in done.files)}")


@app.command(epilog="Example: tunebridge data split rows.jsonl --validation 10% --group user_id -o split")
def split(  # noqa: PLR0913
    files: Files,
    output: Output,
    validation: Annotated[str, typer.Option("--validation", help="Share of the rows to hold out, such as 10%.")],
    group: Annotated[str | None, typer.Option(help="Key whose values are kept together.")] = None,
    stratify: Annotated[str | None, typer.Option(help="Key of whose every value the share is held out.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another number, another split.")] = 0,
    format_: Format = None,
    columns: Columns = None,
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    """Write rows as train.jsonl and validation.jsonl; a row's content decides, so the same row falls the same way."""
    from tunebridge.cli import render
    from tunebridge.client import Client
    from tunebridge.rows import Options

    data = _data(files, validation, format_, columns, group=group, stratify=stratify)
    with render.reading("splitting", quiet=as_json) as progress:
        options = Options(workers, progress=progress)
        paths, report = Client().rows.split(data, output, seed=seed, options=options)
    if as_json:
        render.document({"files": paths, "problems": report.problems, "rows": report.rows})
    else:
        render.checked(report, report.problems, None)
        render.text(f"Wrote {' and '.join(str(path) for path in paths)}")


def _data(
    files: list[str], validation: Any, format_: str | None, columns: list[str] | None, **more: str | None
) -> "DataSpec":
    from pydantic import ValidationError

    from tunebridge.errors import SpecError
    from tunebridge.spec import DataSpec

    named = dict(pair.partition("=")[::2] for pair in columns or ())
    given = {"train": files, "validation": validation or None, "format": format_, "columns": named or None, **more}
    try:
        return DataSpec.model_validate({key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise SpecError(f"{problem['loc'][0]}: {problem['msg']}. See `tunebridge data --help`.") from None


preview.add_to(app)
