"""estimate, calibrate, prices: what jobs cost, before they are sent."""

from pathlib import Path
from typing import Annotated

import typer

from tunebridge.cli.options import Json, PriceFile, Set
from tunebridge.errors import SpecError

prices = typer.Typer(help="Look at price rows.", no_args_is_help=True, rich_markup_mode=None)
ConstantsFile = Annotated[
    Path | None, typer.Option("--constants", help="TOML file that overrides what the models of time and memory assume.")
]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the tree."""
    app.command("estimate", epilog="Example: tunebridge estimate job.yaml --all --serve-tokens 2M,500k")(estimate)
    app.command("calibrate", epilog="Example: tunebridge calibrate")(calibrate)
    app.add_typer(prices, name="prices")


@prices.callback()
def common() -> None:
    """Look at price rows: what they say, where they come from, how old they are."""


def estimate(  # noqa: PLR0913  # each is an option of the command
    job: Annotated[Path | None, typer.Argument(metavar="JOB.yaml", help="Job file: YAML, TOML or JSON.")] = None,
    backends: Annotated[
        list[str] | None, typer.Option("--backend", "-b", help="Estimate on this backend; repeatable.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Estimate on every backend.")] = False,
    set_: Set = None,
    serve: Annotated[
        str | None,
        typer.Option("--serve-tokens", metavar="IN,OUT", help="Tokens a month that the tuned model reads and writes."),
    ] = None,
    price_file: PriceFile = None,
    constants: ConstantsFile = None,
    probe: Annotated[bool, typer.Option(help="Measure this machine's speed for a local run; some seconds.")] = True,
    html: Annotated[Path | None, typer.Option("--html", help="Write the comparison to this web page too.")] = None,
    workload: Annotated[
        Path | None, typer.Option("--workload", help="Estimate the hours of trainings that a JSON file describes.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a job will cost and how long it takes, on one backend or on all, cheapest first; offline, without keys.

    A price that is not known is a row that says so, behind the others. Exit code 2 when no backend can plan the job.
    With --workload the file is a list of
    {id, params_b, method, training_tokens, gpu, gpu_count, packed, seq_len, batch}, and for each id low, likely and
    high are hours.
    """
    from tunebridge.cli import costs_table, render
    from tunebridge.cli.costs_page import page
    from tunebridge.client import Client
    from tunebridge.costs import EstimateOptions, serve_tokens

    client = Client()
    if workload is not None:
        _workloads(workload, constants, as_json=as_json)
        return
    if job is None:
        raise SpecError("Which job is meant is not said. Give a job file, or --workload FILE.json.")
    options = EstimateOptions(serve_tokens(serve) if serve else None, price_file, constants, probe)
    chosen = list(client.plugins.backends()) if every else backends or ()
    with render.waiting("Rows are counted and prices looked up ..."):
        made = client.estimate(job, backends=chosen, overrides=set_ or (), options=options)
    if html is not None:
        html.write_text(page(made), encoding="utf-8")
    if as_json:
        render.document(made)
    else:
        costs_table.comparison(made)
    if all(row.status == "not planned" for row in made.estimates):
        raise typer.Exit(2)


def calibrate(as_json: Json = False) -> None:
    """Refine the model of time from your own finished jobs; estimates use what was learnt from then on."""
    from tunebridge.cli import render
    from tunebridge.client import Client

    learnt = Client().calibrate()
    if as_json:
        render.document({"calibrated": learnt})
    elif not learnt:
        render.text("No finished job has told how long it trained; nothing is calibrated.")
    else:
        columns = ("machine", "jobs", "measured / predicted", "bounds")
        render.table(
            columns, [(m.machine, str(m.jobs), f"{m.likely:.2f}", f"{m.low:.2f}-{m.high:.2f}") for m in learnt]
        )


@prices.command("list", epilog="Example: tunebridge prices list --backend openai")
def list_(
    backend: Annotated[str | None, typer.Option("--backend", "-b", help="Only this backend's.")] = None,
    price_file: PriceFile = None,
    as_json: Json = False,
) -> None:
    """List the price rows that count, with source and age; older than 30 days is aged, than 90 days STALE."""
    from datetime import date

    from tunebridge.cli import costs_table, render
    from tunebridge.client import Client

    client, today = Client(), date.today()
    if backend is not None:
        client.plugins.backend(backend)
    rows = client.costs.book(price_file).rows(backend)
    if as_json:
        ages = [{"age_days": row.age_days(today), "freshness": row.freshness(today)} for row in rows]
        plain = [{**row.model_dump(mode="json"), **age} for row, age in zip(rows, ages, strict=True)]
        render.document({"prices": plain})
    else:
        costs_table.price_rows(rows, today)


@prices.command(epilog="Example: tunebridge prices refresh --backend azureml --region westeurope")
def refresh(
    backend: Annotated[str, typer.Option("--backend", "-b", help="Whose prices to ask for.")],
    region: Annotated[str | None, typer.Option(help="Another region than those of the packaged rows.")] = None,
    as_json: Json = False,
) -> None:
    """Ask a vendor for today's prices and count with them from now on; the only price command that uses the network."""
    from tunebridge.cli import render
    from tunebridge.client import Client

    client = Client()
    client.plugins.backend(backend)
    with render.waiting("The vendor's list is asked ..."):
        made = client.costs.refresh(backend, region=region)
    if as_json:
        render.document(made)
        return
    for warning in made.warnings:
        render.warning(warning)
    render.text(f"{len(made.rows)} prices of {backend} are kept, {made.changed} of them changed.")


def _workloads(file: Path, constants: Path | None, *, as_json: bool) -> None:
    from tunebridge.cli import render
    from tunebridge.client import Client

    found = Client().costs.workloads(file, constants)
    if as_json:
        render.document([row.model_dump(mode="json", exclude_defaults=True) for row in found])
        return
    cells = [
        (
            str(row.id),
            *(f"{hours:.3g}" if hours is not None else "" for hours in (row.low, row.likely, row.high)),
            row.reason,
        )
        for row in found
    ]
    render.table(("workload", "low, hours", "likely", "high", "why not"), cells)
