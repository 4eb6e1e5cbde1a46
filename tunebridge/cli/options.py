"""Options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
JobFile = Annotated[Path, typer.Argument(metavar="JOB.yaml", help="Job file: YAML, TOML or JSON.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Job id, its beginning or end, or `last`.")]
BackendName = Annotated[str | None, typer.Option("--backend", "-b", help="Use this backend instead of the file's.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a field, such as hyperparameters.epochs=2; repeatable."),
]
After = Annotated[int, typer.Option("--after", help="Begin after the event of this number.")]
Timeout = Annotated[float | None, typer.Option("--timeout", help="Stop waiting after so many seconds.")]
Folder = Annotated[Path, typer.Option("--folder", "-o", help="Folder to write to.")]
PriceFile = Annotated[
    Path | None, typer.Option("--price-file", help="Contract prices of yours (TOML or JSON); they count first.")
]
