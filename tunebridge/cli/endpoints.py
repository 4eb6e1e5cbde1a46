"""deploy, undeploy: the tuned model at an endpoint that bills, made and removed on request only."""

from typing import TYPE_CHECKING, Annotated

import typer

from tunebridge.cli.options import JobId, Json

if TYPE_CHECKING:
    from tunebridge.job import Deployment


def add_to(app: typer.Typer) -> None:
    """Add these commands to the tree."""
    app.command("deploy", epilog="Example: tunebridge deploy last --yes")(deploy)
    app.command("undeploy", epilog="Example: tunebridge undeploy last")(undeploy)


def deploy(
    job: JobId,
    to: Annotated[
        str | None, typer.Option(metavar="BACKEND", help="Another backend that takes over the merged weights.")
    ] = None,
    rehearse: Annotated[bool, typer.Option("--rehearse", help="With --to: that backend's emulator.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before the endpoint is made.")] = False,
    as_json: Json = False,
) -> None:
    """Make an endpoint for a tuned model, after its hourly price was shown; it bills until undeploy."""
    from tunebridge.cli import render
    from tunebridge.client import Client

    client = Client()
    quoted = client.quote(job, to=to, rehearse=rehearse)
    if not as_json:
        render.text(f"{quoted.name}: {_price(quoted)}")
    if not yes and not typer.confirm("Make this endpoint?", err=True):
        raise typer.Exit(3)
    with render.waiting(f"{quoted.name} is being made ..."):
        made = client.deploy(job, to=to, rehearse=rehearse)
    assert made.deployment
    if as_json:
        render.document(made)
    else:
        state = "ready" if made.deployment.is_ready else made.deployment.backend_status
        render.text(f"{made.deployment.name} is {state}. It bills until: tunebridge undeploy {made.id}")


def undeploy(job: JobId, as_json: Json = False) -> None:
    """Remove the endpoint of a tuned model and everything that was made for it."""
    from tunebridge.cli import render
    from tunebridge.client import Client

    found = Client().undeploy(job)
    render.document(found) if as_json else render.text(f"{found.id} has no endpoint any more; nothing bills.")


def _price(quoted: "Deployment") -> str:
    if quoted.usd_per_hour is None:
        return f"no price is known ({quoted.price_note})"
    a_month = quoted.usd_per_hour * 24 * 30
    return f"{quoted.usd_per_hour:.2f} USD an hour, {a_month:,.0f} USD in 30 days ({quoted.price_note})"
