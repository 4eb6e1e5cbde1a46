"""evaluate, record: did it help? One comparison of base, tuned and every other model on the same rows."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunebridge.cli.options import Json
from tunebridge.cli.stopping import interrupted_as
from tunebridge.errors import EvaluationError

if TYPE_CHECKING:
    from tunebridge.evaluation.evaluate import Evaluated, Plan
    from tunebridge.evaluation.result import Evaluation
    from tunebridge.evaluations import Evaluations

Data = Annotated[Path, typer.Option("--data", "-d", help="Rows to ask: the last answer, or `reference`, is right.")]
Format = Annotated[str | None, typer.Option("--format", help="Shape of the rows, where it is not clear.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Tokens per answer at most; an answer that is cut has failed.")]
Temperature = Annotated[float, typer.Option(min=0.0, help="0 gives the same answer each time.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Rows that an endpoint is asked at the same time.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds for one answer of an endpoint.")]
Train = Annotated[
    list[Path] | None, typer.Option("--train", help="Training rows of a model that is no job here; none may be asked.")
]
JobName = Annotated[
    str | None, typer.Argument(metavar="JOB", help="Compare a job's model (`tuned`) with its base (`base`).")
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME=MODEL",
        help="A model: job, folder, BASE+ADAPTER, hub id, BACKEND:MODEL, https://HOST/v1#MODEL or FILE.py:FUNCTION; "
        "repeatable.",
    ),
]
Recorded = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=FILE", help="A file of a model's answers {id, output}; repeatable."),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        metavar="NAME[,OPTION=VALUE]",
        help="The first one decides [default: exact_match]; your own is FILE.py:FUNCTION; repeatable.",
    ),
]
Baseline = Annotated[
    str | None, typer.Option(help="Model that the others are compared with [default: `base`, or the first].")
]
Margin = Annotated[float, typer.Option(min=0.0, help="Difference of the first metric that does not matter.")]
Confidence = Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the intervals.")]
Group = Annotated[str | None, typer.Option(help="Key of the metadata that rows which belong together share.")]
Seed = Annotated[int, typer.Option(help="Of the resamples, and for sampled answers.")]
Schema = Annotated[Path | None, typer.Option(help="JSON schema of the answers, for the metric json_schema.")]
JudgeModel = Annotated[str | None, typer.Option("--judge", metavar="MODEL", help="A model that judges the answers.")]
Rubric = Annotated[str, typer.Option(help="What a good answer is, for the judge.")]
Prices = Annotated[
    list[str] | None,
    typer.Option("--price", metavar="NAME=IN,OUT", help="US dollars per million tokens of a model; repeatable."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Ask again what was answered before.")]
FailOn = Annotated[str | None, typer.Option(help="Exit with 3 at this verdict: worse.")]
Require = Annotated[str | None, typer.Option(help="Exit with 3 at any other verdict: better.")]
Html = Annotated[Path | None, typer.Option("--html", help="Write one web page that holds everything.")]
Csv = Annotated[Path | None, typer.Option("--csv", help="Write each row's scores.")]
Markdown = Annotated[Path | None, typer.Option("--markdown", "--md", help="Write the table as Markdown.")]
GATE = 3
KEPT = "The answers so far are kept; run the same command again to go on."


def add_to(app: typer.Typer) -> None:
    """Add these commands to the tree."""
    example = "tunebridge evaluate last --data test.jsonl --metric exact_match --html report.html"
    app.command("evaluate", epilog=f"Example: {example}")(evaluate)
    app.command("record", epilog="Example: tunebridge record last --data test.jsonl -o tuned.jsonl")(record)


def evaluate(  # noqa: PLR0913  # each is an option of the command
    data: Data,
    job: JobName = None,
    model: Models = None,
    recorded: Recorded = None,
    metric: Metrics = None,
    baseline: Baseline = None,
    margin: Margin = 0.0,
    confidence: Confidence = 0.95,
    group: Group = None,
    seed: Seed = 0,
    schema: Schema = None,
    judge: JudgeModel = None,
    rubric: Rubric = "",
    price: Prices = None,
    train: Train = None,
    max_tokens: MaxTokens = 256,
    temperature: Temperature = 0.0,
    concurrency: Concurrency = 16,
    timeout_seconds: Timeout = 120.0,
    fresh: Fresh = False,
    fail_on: FailOn = None,
    require: Require = None,
    html: Html = None,
    csv: Csv = None,
    markdown: Markdown = None,
    format_: Format = None,
    as_json: Json = False,
) -> None:
    """Did it help? Ask every model the same rows, and say which is better, with what certainty.

    The verdict on the first metric is better, worse, equivalent (within --margin) or inconclusive. Answers are kept,
    so that a run that was interrupted goes on; errors, refusals, timeouts and cut answers count as failures. The keys
    of --json are in docs/reference/evaluation.md.
    """
    from tunebridge.cli import render
    from tunebridge.evaluation.request import Request, pairs

    _check_gates(fail_on, require)
    parameters = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
    evaluations = _evaluations(concurrency, timeout_seconds)
    asked = {
        "data": data, "format": format_, "job": job, "models": pairs("--model", model or []), "seed": seed,
        "recorded": pairs("--recorded", recorded or []), "metrics": metric or ["exact_match"], "baseline": baseline,
        "margin": margin, "confidence": confidence, "group": group, "schema_file": schema, "judge": judge,
        "rubric": rubric, "prices": pairs("--price", price or []), "train": train or [], "parameters": parameters,
    }  # fmt: skip
    plan = evaluations.plan(Request.model_validate(asked))
    render.note(_expectation(plan))
    with interrupted_as(KEPT), render.asking(quiet=as_json) as progress:
        done = evaluations.evaluate(plan, is_fresh=fresh, progress=progress)
    _tell(done, {"html": html, "csv": csv, "markdown": markdown}, as_json=as_json)
    if is_refused(done.result, fail_on, require):
        raise typer.Exit(GATE)


def _evaluations(concurrency: int, timeout_seconds: float) -> "Evaluations":
    from tunebridge.client import Client
    from tunebridge.evaluation.models.model import Patience

    evaluations = Client().evaluations
    evaluations.patience = Patience(concurrency, timeout_seconds)
    return evaluations


def _tell(done: "Evaluated", files: Mapping[str, Path | None], *, as_json: bool) -> None:
    """Print a result, and write the files that were asked for by their form."""
    from tunebridge.cli import render
    from tunebridge.cli.evaluation_page import page
    from tunebridge.cli.evaluation_table import as_csv, as_markdown, show

    forms = {"html": page, "csv": as_csv, "markdown": as_markdown}
    for form, path in files.items():
        if path is not None:
            path.write_text(forms[form](done), encoding="utf-8", errors="replace")
    render.document(done.result) if as_json else show(done.result)


def record(  # noqa: PLR0913  # each is an option of the command
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A job's id or `last`, or what --model of evaluate takes.")
    ],
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="File for the answers, {id, output} per row.")],
    train: Train = None,
    max_tokens: MaxTokens = 256,
    temperature: Temperature = 0.0,
    seed: Annotated[int, typer.Option(help="For sampled answers.")] = 0,
    concurrency: Concurrency = 16,
    timeout_seconds: Timeout = 120.0,
    format_: Format = None,
    as_json: Json = False,
) -> None:
    """Keep a model's answers to a file of rows, so that it can still be compared when it is gone.

    The file stands for the model in `tunebridge evaluate --recorded NAME=FILE`.
    """
    from tunebridge.backend import GenerationParameters
    from tunebridge.cli import render
    from tunebridge.evaluation.runner import Contender

    evaluations = _evaluations(concurrency, timeout_seconds)
    task = evaluations.task(data, format=format_)
    found = evaluations.model(model, label="model")
    evaluations.check(task, [found], train or ())
    parameters = GenerationParameters(max_tokens=max_tokens, temperature=temperature, seed=seed)
    with interrupted_as(KEPT), render.asking(quiet=as_json) as progress:
        kept = evaluations.record(task, Contender(model, found.model), output, parameters, progress=progress)
    failed = sum(answer.failure is not None for answer in kept.book.read(row.key for row in task.rows))
    summary = {"rows": len(task), "failed": failed, "asked": kept.asked, "output": str(output)}
    if as_json:
        render.document({**summary, "fingerprint": task.fingerprint})
    else:
        render.text(f"{len(task):,} answers written to {output}" + (f", {failed:,} of them failed" if failed else ""))


def is_refused(found: "Evaluation", fail_on: str | None, require: str | None) -> bool:
    """Whether a gate says no to the verdicts."""
    verdicts = found.verdicts.values()
    return (fail_on is not None and fail_on in verdicts) or (
        require is not None and (not verdicts or any(verdict != require for verdict in verdicts))
    )


def _check_gates(fail_on: str | None, require: str | None) -> None:
    from typing import get_args

    from tunebridge.evaluation.result import Verdict

    for option, value in (("--fail-on", fail_on), ("--require", require)):
        if value is not None and value not in get_args(Verdict):
            raise EvaluationError(f"{option} {value!r} is no verdict. Use one of {', '.join(get_args(Verdict))}.")


def _expectation(plan: "Plan") -> str:
    """Return what these rows can show, before anything is asked."""
    rows, half = len(plan.task), plan.expected_half_width()
    unit = f"{half:.1%}" if plan.primary.is_binary else f"{half:.3f}"
    few = " Fewer than 30 rows never give a verdict." if rows < 30 else ""
    return (
        f"{rows:,} rows, {len(plan.contenders)} model(s): expect the difference in {plan.primary.name} to be known to "
        f"within about {unit} to each side.{few}"
    )
