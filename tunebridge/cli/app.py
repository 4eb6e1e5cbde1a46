"""The tree of commands; what a command needs is imported when it runs, so that --help stays fast."""

import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from tunebridge import __version__
from tunebridge.cli import (
    budgets,
    compare,
    costs,
    data,
    endpoints,
    evaluate,
    export,
    generate,
    jobs,
    plans,
    setup,
    spending,
)

app = typer.Typer(
    name="tunebridge",
    help="Fine-tune language models on any provider from one job file.\n\nStart with: tunebridge quickstart",
    epilog="Examples: tunebridge quickstart | tunebridge submit job.yaml --wait | tunebridge jobs watch last",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.add_typer(jobs.app, name="jobs")
app.add_typer(data.app, name="data")
app.add_typer(budgets.app, name="budget")
for module in (setup, plans, costs, generate, evaluate, compare, endpoints, export):
    module.add_to(app)
spending.add_to(jobs.app)


class _Warnings(logging.Handler):
    """Shows what the library logs as warnings, without tracebacks."""

    def emit(self, record: logging.LogRecord) -> None:
        from tunebridge.cli import render

        render.warning(record.getMessage())


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tunebridge {__version__}")
        raise typer.Exit


@app.callback()
def common(
    home: Annotated[
        Path | None, typer.Option(help="Folder of the job store [default: $TUNEBRIDGE_HOME or the user's data folder].")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Fine-tune language models on any provider from one job file.

    Start with `tunebridge quickstart`: it tunes a small model on this machine and shows what it gained.

    Exit codes: 0 done, 1 the backend failed, 2 you can mend it, 3 a gate said no, 130 interrupted.
    """
    if home is not None:
        os.environ["TUNEBRIDGE_HOME"] = str(home)
    logger = logging.getLogger("tunebridge")
    logger.propagate = debug
    if not debug and not logger.handlers:
        logger.addHandler(_Warnings(logging.WARNING))
