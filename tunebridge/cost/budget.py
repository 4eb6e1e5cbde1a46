"""Caps that bind: what a job has reserved, what it has spent, and whether a project has room for it."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal

from tunebridge.cost.bill import MILLION, MONTHLY
from tunebridge.cost.estimate import CostEstimate, PricedLine
from tunebridge.cost.interval import Cost, Interval, Usd
from tunebridge.cost.price import Unit
from tunebridge.errors import BudgetExceeded
from tunebridge.job import Job
from tunebridge.spec import SpecModel

DEFAULT_PROJECT = "default"
"""Whose budget pays for a job that names no project."""


class JobCost(SpecModel):
    """What the store keeps of a job's money: its estimate with the prices of that day, and its caps."""

    project: str = DEFAULT_PROJECT
    estimate: CostEstimate | None = None
    """None where none could be made."""
    max_usd: Usd | None = None
    """The job's own cap."""

    @property
    def reserved_usd(self) -> Decimal | None:
        """What is set aside for the job: the high end of its estimate; None where no price is known."""
        once = self.estimate.once if self.estimate else None
        return None if once is None else once.high


class Spent(SpecModel):
    """What a job has cost so far, by what its backend says it has used."""

    usd: Usd
    is_final: bool = False
    """Whether the job has ended, so that nothing is added."""
    basis: str = ""
    """What it was computed from."""


def spent(job: Job, cost: JobCost, at: datetime) -> Spent | None:
    """Return what a job has cost at a moment, at the prices of its estimate.

    None where a price or the usage is not known, which is not the same as nothing: a service that says at the end only
    how many tokens it has billed leaves a running job without a figure.
    """
    if job.rehearsal or (job.backend_id is None and job.status.is_terminal):
        return Spent(usd=Decimal(0), is_final=True, basis="nothing was ever billed")
    if cost.estimate is None or cost.estimate.once is None:
        return None
    hours, tokens = _hours(job, at), job.usage.trained_tokens
    shares = _shares(cost.estimate, hours, tokens)
    found = [_cost_of(line, shares.get(line.unit, 1.0)) for line in _paid_once(cost.estimate)]
    known = [usd for usd in found if usd is not None]
    if len(known) < len(found):
        return None
    usd = sum(known, Decimal(0))
    basis = " and ".join(filter(None, (f"{hours:.4g} h" if hours is not None else "", _told(tokens))))
    return Spent(usd=usd, is_final=job.status.is_terminal, basis=basis)


def committed(job: Job, cost: JobCost, at: datetime) -> Decimal:
    """Return what a job takes of its project's budget: what it cost once that is final, else what it may cost.

    A job that has ended without a known cost keeps what was reserved for it.
    """
    known, reserved = spent(job, cost, at), cost.reserved_usd or Decimal(0)
    if known is not None and known.is_final:
        return known.usd
    return max(reserved, known.usd if known else Decimal(0))


def admit(cost: JobCost, cap: Decimal | None, others: Iterable[Decimal]) -> None:
    """Raise BudgetExceeded unless the high end of a job's estimate fits under its own cap and its project's.

    `others`: what each further job of the project takes of `cap`.
    """
    if cost.max_usd is None and cap is None:
        return
    if cost.reserved_usd is None:
        raise BudgetExceeded(
            f"No price is known for this job ({_why(cost)}), so it cannot be held to a cap. "
            f"Give its prices with --price-file, or submit it without budget.max_usd in a project without a budget."
        )
    if cost.max_usd is not None and cost.reserved_usd > cost.max_usd:
        raise BudgetExceeded(
            f"This job may cost up to {cost.reserved_usd:.2f} USD, more than its budget.max_usd of {cost.max_usd:.2f} "
            f"USD. See `tunebridge estimate`; make the job smaller, or raise budget.max_usd."
        )
    taken = sum(others, Decimal(0))
    if cap is not None and taken + cost.reserved_usd > cap:
        raise BudgetExceeded(
            f"This job may cost up to {cost.reserved_usd:.2f} USD, and of the {cap:.2f} USD of the project "
            f"{cost.project!r} {taken:.2f} are spent or reserved. See `tunebridge budget list`; raise it with "
            f"`tunebridge budget set {cost.project} USD`, or wait for other jobs to end."
        )


def breach(job: Job, cost: JobCost, project_left: Decimal | None, at: datetime) -> str | None:
    """Return why a running job must be stopped, None while it keeps to its caps.

    `project_left`: what the project's budget leaves for this job.
    """
    known = spent(job, cost, at)
    caps: Mapping[str, Decimal | None] = {"budget.max_usd": cost.max_usd, f"project {cost.project!r}": project_left}
    for name, cap in caps.items():
        if known is not None and cap is not None and known.usd > cap:
            what = f"{known.usd:.4g} USD are spent ({known.basis}), more than the {cap:.4g} USD that {name} leaves"
            return f"{what}. The job is being cancelled; {_remains(cost)}"
    return None


def _remains(cost: JobCost) -> str:
    """Say what a cancel cannot undo."""
    units = {line.unit for line in _paid_once(cost.estimate)} if cost.estimate else set()
    if "hour" in units:
        return "what the machine has run is billed, and it bills until it has stopped."
    return "what was trained is billed, and a service that bills in arrears may still add to it."


def _hours(job: Job, at: datetime) -> float | None:
    """Return the hours that count: those that the backend says, else those since the job was first seen at work."""
    if job.usage.training_seconds is not None:
        return job.usage.training_seconds / 3600
    if job.started_at is None:
        return 0.0 if not job.status.is_terminal else None
    return ((job.finished_at or at) - job.started_at).total_seconds() / 3600


def _shares(estimate: CostEstimate, hours: float | None, tokens: int | None) -> dict[Unit, float | None]:
    """Return how much of what was expected has been used, by unit; None where that is not known."""
    expected = estimate.hours.likely if estimate.hours else 0.0
    trained = [line for line in _paid_once(estimate) if line.unit == "1M tokens" and line.component == "training"]
    millions = sum(line.quantity.likely for line in trained)
    return {
        "hour": hours / expected if hours is not None and expected else None,
        "1M tokens": tokens / MILLION / millions if tokens is not None and millions else None,
    }


def _cost_of(line: PricedLine, share: float | None) -> Decimal | None:
    if share is None or line.price is None:
        return None
    return Cost.of(Interval.exactly(line.quantity.likely * share), Decimal(repr(line.price.usd_per_unit))).likely


def _paid_once(estimate: CostEstimate) -> list[PricedLine]:
    return [line for line in estimate.lines if line.component not in MONTHLY]


def _told(tokens: int | None) -> str:
    return f"{tokens:,} tokens" if tokens is not None else ""


def _why(cost: JobCost) -> str:
    if cost.estimate is None:
        return "no estimate could be made"
    return "; ".join(cost.estimate.reasons) or "a price is missing"
