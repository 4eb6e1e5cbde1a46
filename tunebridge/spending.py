"""The facade's part for money that is spent: budgets of projects, what jobs came to, endpoints that still bill."""

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal

from tunebridge.cost.bill import HOURS_PER_MONTH
from tunebridge.cost.budget import DEFAULT_PROJECT, JobCost, Spent, committed, spent
from tunebridge.cost.interval import Cost, Usd
from tunebridge.errors import TuneBridgeError
from tunebridge.job import Deployment, Job, now
from tunebridge.spec import SpecModel
from tunebridge.store import Store


class ProjectBudget(SpecModel):
    """A project's cap and what is left of it."""

    project: str
    max_usd: Usd | None = None
    """None where the project has no cap."""
    spent_usd: Usd = Decimal(0)
    """What its jobs have cost, as far as that is known."""
    committed_usd: Usd = Decimal(0)
    """What they have cost, and may still cost."""
    jobs: int = 0

    @property
    def left_usd(self) -> Decimal | None:
        """What a further job may reserve."""
        return None if self.max_usd is None else self.max_usd - self.committed_usd


class JobSpending(SpecModel):
    """What a job was estimated at, and what it came to."""

    job: Job
    project: str = DEFAULT_PROJECT
    month: str
    """`2026-11`: when it was submitted, in UTC."""
    estimate: Cost | None = None
    """None where no price was known when it was submitted."""
    spent: Spent | None = None
    """None where its usage or a price is not known."""

    @property
    def error(self) -> float | None:
        """How far the likely estimate was off: 0.1 where the job cost a tenth more; None before that is known."""
        if self.estimate is None or self.spent is None or not self.spent.is_final or not self.estimate.likely:
            return None
        return float(self.spent.usd / self.estimate.likely) - 1


class Standing(SpecModel):
    """An endpoint that TuneBridge made and that still stands."""

    job_id: str
    backend: str
    deployment: Deployment
    since: datetime | None = None
    usd_so_far: Usd | None = None
    usd_per_month: Usd | None = None
    """None where no hourly price is known."""
    note: str = ""
    """Why its state could not be asked, where that is so."""


class Spending:
    """What has been spent, is reserved and still bills."""

    def __init__(self, store: Callable[[], Store], seen: Callable[[Job], Deployment | None]) -> None:
        self._store, self._seen = store, seen

    def set_budget(self, project: str, max_usd: Decimal | None) -> ProjectBudget:
        """Set what a project's jobs may cost together, or take its cap away, and return where it stands."""
        self._store().ledger.set_budget(project, max_usd)
        return next((found for found in self.budgets() if found.project == project), ProjectBudget(project=project))

    def budgets(self) -> Sequence[ProjectBudget]:
        """Return every project that has a cap or a job, by name."""
        ledger, at = self._store().ledger, now()
        caps, found = ledger.budgets(), ledger.costs()
        names = sorted({*caps, *(cost.project for _, cost in found)})
        return [
            _budget(name, caps.get(name), [pair for pair in found if pair[1].project == name], at) for name in names
        ]

    def jobs(self, *, project: str | None = None, month: str | None = None) -> Sequence[JobSpending]:
        """Return what each job was estimated at and came to, newest first; `month` as 2026-11."""
        at = now()
        rows = [_spending(job, cost, at) for job, cost in self._store().ledger.costs()]
        return [row for row in rows if project in (None, row.project) and month in (None, row.month)]

    def idle(self) -> Sequence[Standing]:
        """Return the endpoints that were made and not removed, each asked whether it still stands."""
        jobs = [job for job in self._store().list() if job.deployment is not None and not job.rehearsal]
        return [standing for job in jobs if (standing := self._standing(job)) is not None]

    def _standing(self, job: Job) -> Standing | None:
        known, note = job.deployment, ""
        try:
            known = self._seen(job)
        except TuneBridgeError as error:
            note = f"its state could not be asked: {error}"
        if known is None:
            return None
        hourly, since = known.usd_per_hour, known.since
        hours = Decimal(repr((now() - since).total_seconds() / 3600)) if since else None
        return Standing(
            job_id=job.id,
            backend=job.backend,
            deployment=known,
            since=since,
            usd_so_far=hourly * hours if hourly is not None and hours is not None else None,
            usd_per_month=hourly * Decimal(repr(HOURS_PER_MONTH)) if hourly is not None else None,
            note=note,
        )


def _budget(name: str, cap: Decimal | None, found: Sequence[tuple[Job, JobCost]], at: datetime) -> ProjectBudget:
    known = [spent(job, cost, at) for job, cost in found]
    return ProjectBudget(
        project=name,
        max_usd=cap,
        spent_usd=sum((part.usd for part in known if part), Decimal(0)),
        committed_usd=sum((committed(job, cost, at) for job, cost in found), Decimal(0)),
        jobs=len(found),
    )


def _spending(job: Job, cost: JobCost, at: datetime) -> JobSpending:
    return JobSpending(
        job=job,
        project=cost.project,
        month=f"{job.created_at:%Y-%m}",
        estimate=cost.estimate.once if cost.estimate else None,
        spent=spent(job, cost, at),
    )
