"""plan, submit: from a job file to a job."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from tunebridge.cli.options import BackendName, JobFile, Json, PriceFile, Set

if TYPE_CHECKING:
    from tunebridge.cost.budget import JobCost


def add_to(app: typer.Typer) -> None:
    """Add these commands to the tree."""
    app.command("plan", epilog="Example: tunebridge plan job.yaml --backend local")(plan)
    app.command("submit", epilog="Example: tunebridge submit job.yaml --set hyperparameters.epochs=2 --wait")(submit)


def plan(job: JobFile, backend: BackendName = None, set_: Set = None, as_json: Json = False) -> None:
    """Show what a job becomes on its backend, field by field; offline and without keys.

    Exit code 2 when the backend cannot honour a field that is set.
    """
    from tunebridge.cli import render
    from tunebridge.client import Client

    made = Client().plan(job, backend=backend, overrides=set_ or ())
    if as_json:
        render.document({**made.model_dump(mode="json"), "digest": made.digest, "sendable": not made.refused})
    else:
        render.plan(made)
    if made.refused:
        if not as_json:
            render.error(f"{len(made.refused)} field(s) are refused. Change them, or accept a loss with `allow`.")
        raise typer.Exit(2)


def submit(  # noqa: PLR0913  # each is an option of the command
    job: JobFile,
    backend: BackendName = None,
    set_: Set = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Submit although the same plan is still running.")] = False,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Run it against the backend's emulator: no account, no network, no bill.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before something that costs money.")] = False,
    price_file: PriceFile = None,
    as_json: Json = False,
) -> None:
    """Submit a job exactly once; it goes on when this command ends.

    With --wait --json one document with id, status, backend, metrics and artifacts is printed at the end.
    """
    from tunebridge.cli import render
    from tunebridge.cli.jobs import end, show_end
    from tunebridge.cli.stopping import interrupted_as
    from tunebridge.client import Client

    client = Client()
    with interrupted_as(
        "If the job was sent, `tunebridge jobs reconcile` finds it; submitting again is safe after that."
    ):
        submitted = client.submit(
            job,
            backend=backend,
            overrides=set_ or (),
            again=again,
            rehearse=rehearse,
            price_file=price_file,
            approve=None if yes or as_json else _approve,
        )
    if not as_json:
        made = client.store.plan(submitted.id)
        for message in made.warnings:
            render.warning(message)
        where = f"the emulator of {submitted.backend} (a rehearsal)" if rehearse else submitted.backend
        render.text(f"Submitted {submitted.id} to {where}: {made.base_model}, {made.data.train_rows} rows")
    if wait:
        show_end(client, end(client, submitted.id, quiet=as_json), as_json=as_json)
    elif as_json:
        render.document(submitted)
    else:
        render.text(f"Follow it with: tunebridge jobs watch {submitted.id}")


def _approve(cost: "JobCost") -> None:
    """Show what a job may cost, and ask where somebody sits before the terminal; a job without a bill goes on."""
    from tunebridge.cli import costs_table, render

    estimate = cost.estimate
    once = estimate.once if estimate else None
    if once is not None and not once.high:
        return
    why = "; ".join(estimate.reasons) if estimate else ""
    render.note(f"Cost: {costs_table.money(once)} USD" if once is not None else f"Cost: no price is known ({why})")
    if sys.stdin.isatty() and not typer.confirm("Send it?", err=True):
        raise typer.Exit(3)
