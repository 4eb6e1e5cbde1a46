"""compare: which backend should I use for this job? Quality with its interval against cost and latency."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunebridge.cli.options import Json
from tunebridge.errors import EvaluationError

if TYPE_CHECKING:
    from tunebridge.evaluation.pareto import Choice
    from tunebridge.evaluation.request import Request


def add_to(app: typer.Typer) -> None:
    """Add this command to the tree."""
    app.command("compare", epilog="Example: tunebridge compare JOB1 JOB2 --data test.jsonl --html choice.html")(compare)


def compare(  # noqa: PLR0913  # each is an option of the command
    jobs: Annotated[
        list[str], typer.Argument(metavar="JOB...", help="Finished jobs, or files that `evaluate --json` wrote.")
    ],
    data: Annotated[Path | None, typer.Option("--data", "-d", help="Rows to ask the jobs' models.")] = None,
    metric: Annotated[str, typer.Option(metavar="NAME[,OPTION=VALUE]", help="What quality is.")] = "exact_match",
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", metavar="NAME=MODEL", help="A further model; repeatable.")
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option("--price", metavar="NAME=IN,OUT", help="US dollars per million tokens of a model; repeatable."),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens per answer at most.")] = 256,
    different_data: Annotated[
        bool, typer.Option("--different-data", help="Compare jobs that were trained on different rows, too.")
    ] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write table and plots as one web page.")] = None,
    as_json: Json = False,
) -> None:
    """Which backend should I use? Compare finished jobs by quality, cost and latency on the same rows.

    Models that no other one beats in everything (the Pareto front) are marked. A job's model is named after its
    backend, or by its id where two jobs share one. With --json: fingerprint, rows, metric, candidates.
    """
    from tunebridge.backend import GenerationParameters
    from tunebridge.cli import render
    from tunebridge.cli.evaluation_page import choice_page
    from tunebridge.cli.evaluation_table import choice_table
    from tunebridge.evaluation.pareto import choice, read_evaluation
    from tunebridge.evaluation.request import Request, pairs

    files = [Path(name) for name in jobs if name.endswith(".json")]
    if files and (len(files) < len(jobs) or data is not None):
        raise EvaluationError("Give jobs with --data, or files of evaluations without it, not both.")
    if not files and data is None:
        raise EvaluationError("The jobs have to be asked something. Give rows with --data.")
    if files:
        found = choice([read_evaluation(path) for path in files])
    else:
        request = Request.model_validate(
            {
                "data": data, "models": pairs("--model", model or []), "metrics": (metric,),
                "prices": pairs("--price", price or []), "parameters": GenerationParameters(max_tokens=max_tokens),
            }
        )  # fmt: skip
        found = _of_jobs(jobs, request, is_same_data=not different_data, quiet=as_json)
    if html is not None:
        html.write_text(choice_page(found), encoding="utf-8", errors="replace")
    if as_json:
        render.document(found)
    else:
        render.table(*choice_table(found), title=f"{found.rows:,} rows; * no other model beats it in everything")


def _of_jobs(jobs: list[str], request: "Request", *, is_same_data: bool, quiet: bool) -> "Choice":
    from tunebridge.cli import render
    from tunebridge.client import Client

    with render.asking(quiet=quiet) as progress:
        return Client().evaluations.compare(jobs, request, is_same_data=is_same_data, progress=progress)
