"""data preview, data tokens: what the model will see of the rows, and how many tokens that is."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunebridge.cli.options import Json
from tunebridge.errors import SpecError

if TYPE_CHECKING:
    from tunebridge.data.counting.report import SplitTokens

DEFAULT_MODELS = {"local": "tunebridge/nano"}
"""Model of a backend where --model is not given, as a job file without `base_model` has it."""

For = Annotated[str | None, typer.Option("--for", metavar="BACKEND", help="Backend that is to train on the rows.")]
Model = Annotated[
    str | None, typer.Option("--model", "-m", help="Base model: tunebridge/nano, a folder, a hub id, a service's name.")
]
MaxLength = Annotated[
    int | None, typer.Option(min=8, help="Tokens per row at most [default: the model's or the backend's limit].")
]
Format = Annotated[str | None, typer.Option("--format", help="Shape of the rows, where it is not clear.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to `data`."""
    app.command(epilog="Example: tunebridge data preview train.jsonl --for local --model tunebridge/nano")(preview)
    app.command(epilog="Example: tunebridge data tokens train.jsonl --model gpt-4.1-mini")(tokens)


def preview(  # noqa: PLR0913  # each is an option of the command
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File of rows.")],
    for_: For = "local",
    model: Model = None,
    rows: Annotated[int, typer.Option(min=0, help="Rows to show.")] = 3,
    check_rows: Annotated[int, typer.Option(min=0, help="Rows to look at for the warnings.")] = 1000,
    max_length: MaxLength = None,
    format_: Format = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write the rows in full to this web page.")] = None,
    as_json: Json = False,
) -> None:
    """Show rows as the model will see them: through its chat template, the trained tokens coloured.

    Uses the very function that the trainer uses. Exit code 2 when a row cannot be rendered.

    With --json: model, max_length, checked_rows, rows (line, tokens, trained_tokens, cut_tokens, spans, token_ids,
    is_trained) and problems.
    """
    from tunebridge.cli import render
    from tunebridge.cli.preview_page import page, shown
    from tunebridge.client import Client
    from tunebridge.data.rendering.preview import group

    client = Client()
    name = _model(client, for_, model)
    with render.waiting(f"The first rows are rendered for {name} ..."):
        made = client.rows.preview(file, name, shown=rows, checked=check_rows, max_length=max_length, format=format_)
    if html is not None:
        html.write_text(page(made), encoding="utf-8")
    if as_json:
        render.document(made)
    else:
        for row in made.rows:
            render.styled(shown(row, made.max_length, with_marks=not render.has_colour()))
        render.problems(group(made.problems))
        found = f"{made.checked_rows:,} row(s) checked, {len(made.problems):,} problem(s)"
        render.text(f"{found}; {made.model}, max_length {made.max_length:,}")
    if any(problem.severity == "error" for problem in made.problems):
        raise typer.Exit(2)


def tokens(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of rows.")],
    for_: For = None,
    model: Model = None,
    max_length: MaxLength = None,
    format_: Format = None,
    as_json: Json = False,
) -> None:
    """Count the tokens of files of rows: exact with the model's own tokenizer or OpenAI's, otherwise an interval.

    With --json: model, max_length, and for each split of each file its rows, images, trained, prompt and total
    (low, likely, high, exact, method), the longest rows as (tokens, line), too_long and perhaps_too_long.
    """
    from tunebridge.cli import render
    from tunebridge.client import Client

    client = Client()
    name = _model(client, for_, model)
    most = max_length if max_length is not None else client.rows.max_row_tokens(name, backend=for_)
    with render.waiting(f"Tokens are counted for {name} ..."):
        counted = [split for file in files for split in client.rows.count_tokens(file, name, most, format=format_)]
    if as_json:
        splits = [{**render.plain(split), "total": render.plain(split.total)} for split in counted]
        render.document({"model": name, "max_length": most, "splits": splits})
        return
    render.table(
        ["file", "split", "rows", "trained", "prompt", "total", "longest row", "too long"],
        [_cells(split, most) for split in counted],
    )
    _remarks(counted, most)


def _cells(split: "SplitTokens", max_length: int | None) -> list[str]:
    longest = ", ".join(f"{tokens:,} (line {line})" for tokens, line in split.longest[:1])
    too_long = "" if max_length is None else f"{split.too_long:,} ({split.too_long / split.rows:.1%})"
    about = "" if split.total.exact else "~"
    counts = (f"{about}{count.likely:,}" for count in (split.trained, split.prompt, split.total))
    return [Path(split.file).name, split.split, f"{split.rows:,}", *counts, longest, too_long]


def _remarks(counted: "Sequence[SplitTokens]", max_length: int | None) -> None:
    """Say how it was counted and what is not in the table."""
    from tunebridge.cli import render

    for split in counted:
        low, high = f"{split.total.low:,}", f"{split.total.high:,}"
        kind = "exact" if split.total.exact else f"estimated, between {low} and {high}"
        render.text(f"{split.file}, {split.split}: {kind} ({split.total.method})")
    if max_length is not None:
        perhaps = sum(split.perhaps_too_long for split in counted)
        render.text(f"too long: more than {max_length:,} tokens; {perhaps:,} row(s) if all counts are at their highest")
    images = sum(split.images for split in counted)
    if images:
        render.warning(f"{images:,} image(s) are not counted: their tokens depend on size and model")


def _model(client: Any, backend: str | None, model: str | None) -> str:
    """Return the model that is meant; SpecError when neither option tells."""
    if backend is not None:
        client.plugins.backend(backend)
    found = model or DEFAULT_MODELS.get(backend or "")
    if found is None:
        raise SpecError("Which model the rows are for is not said. Give --model.", key="base_model")
    return found
