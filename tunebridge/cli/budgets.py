"""budget: what the jobs of a project may cost together."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated

import typer

from tunebridge.cli.options import Json
from tunebridge.errors import SpecError

if TYPE_CHECKING:
    from tunebridge.spending import ProjectBudget

app = typer.Typer(help="Cap what projects spend.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def common() -> None:
    """Cap what the jobs of a project cost together: a job that might go above is not sent."""


@app.command("set", epilog="Example: tunebridge budget set research 200")
def set_(
    project: Annotated[str, typer.Argument(help="Name that jobs give as budget.project; `default` for those without.")],
    usd: Annotated[str, typer.Argument(metavar="USD", help="US dollars, or `none` to take the cap away.")],
    as_json: Json = False,
) -> None:
    """Set what a project's jobs may cost together."""
    from tunebridge.client import Client

    _show([Client().spending.set_budget(project, None if usd == "none" else _dollars(usd))], as_json=as_json)


@app.command("list", epilog="Example: tunebridge budget list --json")
def list_(as_json: Json = False) -> None:
    """List projects: what they may cost, what is spent or reserved, what is left."""
    from tunebridge.client import Client

    _show(Client().spending.budgets(), as_json=as_json)


def _dollars(text: str) -> Decimal:
    try:
        usd = Decimal(text)
    except InvalidOperation:
        usd = Decimal(-1)
    if not usd.is_finite() or usd < 0:
        raise SpecError(f"{text!r} is no amount of US dollars. Write it as 200 or 12.50, or `none`.")
    return usd


def _show(budgets: "Sequence[ProjectBudget]", *, as_json: bool) -> None:
    from tunebridge.cli import render

    if as_json:
        render.document({"budgets": [{**b.model_dump(mode="json"), "left_usd": b.left_usd} for b in budgets]})
    elif not budgets:
        render.text("No project has a budget or a job. Set one: tunebridge budget set default 100")
    else:
        amounts = [(b.max_usd, b.spent_usd, b.committed_usd, b.left_usd) for b in budgets]
        rows = [(b.project, str(b.jobs), *map(_usd, row)) for b, row in zip(budgets, amounts, strict=True)]
        render.table(("project", "jobs", "budget, USD", "spent", "spent or reserved", "left"), rows)


def _usd(value: Decimal | None) -> str:
    return "none" if value is None else f"{value:,.2f}"
