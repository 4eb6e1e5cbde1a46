"""The store's part for money: what each job has reserved, and what each project may spend.

Tables of the store's own file, written in its transactions: what a job reserves is there with the job, or neither is.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from decimal import Decimal

from tunebridge.cost import budget
from tunebridge.cost.budget import JobCost
from tunebridge.job import Job, now

TABLES = """
    CREATE TABLE costs (
        job_id TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE, project TEXT NOT NULL, record TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX costs_by_project ON costs (project);
    CREATE TABLE budgets (project TEXT PRIMARY KEY, max_usd TEXT NOT NULL) STRICT, WITHOUT ROWID;
"""

Transaction = Callable[[], AbstractContextManager[sqlite3.Connection]]


def reserve(db: sqlite3.Connection, job_id: str, cost: JobCost) -> None:
    """Set aside what a job may cost; BudgetExceeded where its cap or its project's has no room for it.

    Looking and writing belong to the caller's one transaction, so that jobs at once never share what is left.
    """
    budget.admit(cost, _cap(db, cost.project), _commitments(db, cost.project))
    record = cost.model_dump_json(exclude_computed_fields=True)
    db.execute("INSERT INTO costs (job_id, project, record) VALUES (?, ?, ?)", (job_id, cost.project, record))


class Ledger:
    """Reservations and budgets of one store."""

    def __init__(self, read: Transaction, write: Transaction) -> None:
        self._read, self._write = read, write

    def cost(self, job_id: str) -> JobCost | None:
        """Return what was reserved for a job, None where nothing was: a rehearsal, or a job of an older store."""
        with self._read() as db:
            row = db.execute("SELECT record FROM costs WHERE job_id = ?", (job_id,)).fetchone()
        return JobCost.model_validate_json(row[0]) if row else None

    def costs(self) -> Sequence[tuple[Job, JobCost]]:
        """Return every job for which money was reserved, newest first."""
        with self._read() as db:
            rows = db.execute(
                "SELECT jobs.record, costs.record FROM costs JOIN jobs ON id = job_id ORDER BY created_at DESC, id DESC"
            ).fetchall()
        return [(Job.model_validate_json(job), JobCost.model_validate_json(cost)) for job, cost in rows]

    def set_budget(self, project: str, max_usd: Decimal | None) -> None:
        """Set what a project's jobs may cost together, or take its cap away."""
        with self._write() as db:
            db.execute("DELETE FROM budgets WHERE project = ?", (project,))
            if max_usd is not None:
                db.execute("INSERT INTO budgets (project, max_usd) VALUES (?, ?)", (project, str(max_usd)))

    def budgets(self) -> Mapping[str, Decimal]:
        """Return the cap of each project that has one."""
        with self._read() as db:
            rows = db.execute("SELECT project, max_usd FROM budgets ORDER BY project").fetchall()
        return {project: Decimal(usd) for project, usd in rows}

    def left_for(self, job_id: str) -> Decimal | None:
        """Return what the budget of a job's project leaves for this very job, None where it has no cap."""
        with self._read() as db:
            row = db.execute("SELECT project FROM costs WHERE job_id = ?", (job_id,)).fetchone()
            cap = _cap(db, row[0]) if row else None
            return None if cap is None else cap - sum(_commitments(db, row[0], without=job_id), Decimal(0))


def _cap(db: sqlite3.Connection, project: str) -> Decimal | None:
    row = db.execute("SELECT max_usd FROM budgets WHERE project = ?", (project,)).fetchone()
    return Decimal(row[0]) if row else None


def _commitments(db: sqlite3.Connection, project: str, *, without: str = "") -> list[Decimal]:
    """Return what each job of a project takes of its budget."""
    rows = db.execute(
        "SELECT jobs.record, costs.record FROM costs JOIN jobs ON id = job_id WHERE project = ? AND job_id != ?",
        (project, without),
    ).fetchall()
    at = now()
    return [budget.committed(Job.model_validate_json(j), JobCost.model_validate_json(c), at) for j, c in rows]
