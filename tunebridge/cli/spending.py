"""jobs costs: what jobs came to beside their estimates, by project and month, and the endpoints that still bill."""

import csv
import io
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunebridge.cli.options import Json

if TYPE_CHECKING:
    from tunebridge.spending import JobSpending, Standing

UNKNOWN = "not known"


def add_to(app: typer.Typer) -> None:
    """Add the command to a tree of commands."""
    app.command("costs", epilog="Example: tunebridge jobs costs --month 2026-11 --csv > costs.csv")(costs)


def costs(
    project: Annotated[str | None, typer.Option(help="Only this project's.")] = None,
    month: Annotated[str | None, typer.Option(metavar="YYYY-MM", help="Only jobs submitted in this month.")] = None,
    idle: Annotated[bool, typer.Option("--idle", help="List the endpoints that still bill instead.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="One row a job, by FOCUS column names where they fit.")] = False,
    as_json: Json = False,
) -> None:
    """Say what jobs cost beside what was estimated, by project and month.

    What a job has used is what its backend says; the prices are those of the day on which it was submitted.
    """
    from tunebridge.cli import render
    from tunebridge.client import Client

    spending = Client().spending
    if idle:
        _show_idle(spending.idle(), as_json=as_json)
        return
    rows = spending.jobs(project=project, month=month)
    if as_csv:
        render.raw(_csv(rows))
    elif as_json:
        render.document({"jobs": [{**row.model_dump(mode="json"), "error": row.error} for row in rows]})
    elif not rows:
        render.text("No job has costs here. A rehearsal has none.")
    else:
        _show(rows)


def _show(rows: "Sequence[JobSpending]") -> None:
    from tunebridge.cli import costs_table, render

    columns = ("job", "backend", "status", "project", "estimated, USD", "cost, USD", "error", "by")
    render.table(
        columns,
        [
            (
                row.job.id,
                row.job.backend,
                str(row.job.status),
                row.project,
                costs_table.money(row.estimate),
                _cost(row),
                f"{row.error:+.0%}" if row.error is not None else "",
                row.spent.basis if row.spent else "",
            )
            for row in rows
        ],
    )
    totals: dict[tuple[str, str], list[JobSpending]] = {}
    for row in rows:
        totals.setdefault((row.month, row.project), []).append(row)
    render.table(("month", "project", "jobs", "cost, USD"), [_total(*key, part) for key, part in totals.items()])


def _cost(row: "JobSpending") -> str:
    if row.spent is None:
        return UNKNOWN
    return f"{row.spent.usd:,.4f}" if row.spent.is_final else f"{row.spent.usd:,.4f} so far"


def _total(month: str, project: str, rows: "Sequence[JobSpending]") -> tuple[str, ...]:
    known = [row.spent.usd for row in rows if row.spent is not None]
    unknown = f" and {len(rows) - len(known)} {UNKNOWN}" if len(known) < len(rows) else ""
    return month, project, str(len(rows)), f"{sum(known, Decimal(0)):,.4f}{unknown}"


def _csv(rows: "Sequence[JobSpending]") -> str:
    """Return the rows as CSV; columns named as in FOCUS 1.2 (FinOps Foundation) but for those with `x_`, its mark."""
    out = io.StringIO()
    found = [_focus(row) for row in rows]
    writer = csv.DictWriter(out, list(found[0]) if found else ["ResourceId"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return out.getvalue()


def _focus(row: "JobSpending") -> dict[str, Any]:
    job, estimate = row.job, row.estimate
    return {
        "BillingPeriodStart": f"{row.month}-01T00:00:00Z",
        "ChargePeriodStart": job.created_at.isoformat(),
        "ChargePeriodEnd": job.finished_at.isoformat() if job.finished_at else "",
        "ChargeCategory": "Usage",
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": job.backend,
        "ResourceId": job.backend_id or "",
        "ResourceName": job.id,
        "EffectiveCost": f"{row.spent.usd:f}" if row.spent else "",
        "BillingCurrency": "USD",
        "x_Project": row.project,
        "x_BaseModel": job.base_model,
        "x_Status": str(job.status),
        "x_IsFinal": row.spent.is_final if row.spent else False,
        "x_EstimateLow": f"{estimate.low:f}" if estimate else "",
        "x_EstimateLikely": f"{estimate.likely:f}" if estimate else "",
        "x_EstimateHigh": f"{estimate.high:f}" if estimate else "",
    }


def _show_idle(found: "Sequence[Standing]", *, as_json: bool) -> None:
    from tunebridge.cli import render

    if as_json:
        render.document({"endpoints": found})
    elif not found:
        render.text("No endpoint that TuneBridge made stands; nothing bills.")
    else:
        amounts = [(_usd(one.usd_so_far), _usd(one.usd_per_month)) for one in found]
        rows = [
            (one.job_id, one.backend, one.deployment.backend_status, *usd, f"tunebridge undeploy {one.job_id}")
            for one, usd in zip(found, amounts, strict=True)
        ]
        render.table(("job", "backend", "state", "so far, USD", "a month, USD", "end it with"), rows)
        for one in found:
            if one.note:
                render.warning(f"{one.job_id}: {one.note}")


def _usd(value: Decimal | None) -> str:
    return UNKNOWN if value is None else f"{value:,.2f}"
