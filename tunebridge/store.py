"""The job store: every job, event, metric and artifact on disk; the only room that knows SQL.

SQLite in WAL mode, so that several processes read and write one store at once. Each write is one
transaction that is on disk (`synchronous=FULL`) when the call returns.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import filelock
import platformdirs

from tunebridge import ledger
from tunebridge.cost.budget import JobCost
from tunebridge.errors import DuplicateJob, JobNotFound, StoreError
from tunebridge.job import TERMINAL, Artifact, Event, Job, JobStatus, Metric, Snapshot, now
from tunebridge.plan import Plan

HOME = "TUNEBRIDGE_HOME"
"""Environment variable: folder of the store and the jobs' files."""

_TERMINAL = ", ".join(f"'{status}'" for status in sorted(TERMINAL))

# Each entry brings the store one version further; released entries are never edited.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY, status TEXT NOT NULL, plan_digest TEXT NOT NULL, created_at TEXT NOT NULL,
        record TEXT NOT NULL, plan TEXT NOT NULL
    ) STRICT;
    CREATE INDEX jobs_by_digest ON jobs (plan_digest, status);
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        event_id TEXT NOT NULL, record TEXT NOT NULL, UNIQUE (job_id, event_id)
    ) STRICT;
    CREATE TABLE metrics (
        job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, name TEXT NOT NULL, step INTEGER NOT NULL,
        record TEXT NOT NULL, PRIMARY KEY (job_id, name, step)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE artifacts (
        job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, uri TEXT NOT NULL, record TEXT NOT NULL,
        PRIMARY KEY (job_id, uri)
    ) STRICT, WITHOUT ROWID;
    """,
    ledger.TABLES,
)


def default_home() -> Path:
    """Return `$TUNEBRIDGE_HOME`, or the platform's folder for application data."""
    return Path(os.environ.get(HOME) or platformdirs.user_data_path("tunebridge"))


class Store:
    """Jobs on disk under one home folder that only its owner can read."""

    def __init__(self, home: Path | None = None) -> None:
        self.home = (home or default_home()).absolute()
        self._path = self.home / "jobs.sqlite3"
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.home / "jobs").mkdir(mode=0o700, exist_ok=True)
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"The job store {self._path} cannot be opened: {error}. Check the folder's permissions and free "
                f"space, or point {HOME} to another folder."
            ) from error

    @property
    def ledger(self) -> ledger.Ledger:
        """What was reserved and what may be spent, in the same file."""
        return ledger.Ledger(self._read, self._write)

    def folder(self, job_id: str) -> Path:
        """Return the job's own folder, made when it is first asked for."""
        folder = self.home / "jobs" / job_id
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"The job's folder {folder} cannot be made: {error}. Check the folder's permissions and free space."
            ) from error
        return folder

    @contextmanager
    def exclusive(self, job_id: str, *, timeout_seconds: float = -1) -> Iterator[None]:
        """Hold the job's lock, so that one process at a time submits or reconciles it; it dies with the process."""
        try:
            with filelock.FileLock(self.folder(job_id) / "job.lock", timeout=timeout_seconds):
                yield
        except filelock.Timeout:
            raise StoreError(
                f"Another process is working on job {job_id} right now. Wait for it to finish, then try again."
            ) from None

    def is_held(self, job_id: str) -> bool:
        """Whether some process is submitting or reconciling the job right now."""
        try:
            with self.exclusive(job_id, timeout_seconds=0):
                return False
        except StoreError:
            return True

    def add(self, job: Job, plan: Plan, *, again: bool = False, cost: JobCost | None = None) -> None:
        """Write a new job durably; DuplicateJob when the same plan has a job that has not ended.

        A rehearsal and a real job of the same plan do not stand in each other's way. BudgetExceeded when `cost` does
        not fit under the caps; looking and writing are one transaction, so that jobs at once never share what is left.
        """
        with self._write() as db:
            twin = db.execute(
                f"SELECT id FROM jobs WHERE plan_digest = ? AND status NOT IN ({_TERMINAL}) "
                "AND json_extract(record, '$.rehearsal') = ?",
                (job.plan_digest, job.rehearsal),
            ).fetchone()
            if twin and not again:
                raise DuplicateJob(twin[0])
            db.execute(
                "INSERT INTO jobs (id, status, plan_digest, created_at, record, plan) VALUES (?, ?, ?, ?, ?, ?)",
                (job.id, job.status, job.plan_digest, job.created_at.isoformat(), _json(job), _json(plan)),
            )
            if cost is not None:
                ledger.reserve(db, job.id, cost)

    def get(self, job_id: str) -> Job:
        """Return a job by its id or an unambiguous beginning or end of it; `last` is the newest one."""
        with self._read() as db:
            return _one_job(db, job_id)

    def plan(self, job_id: str) -> Plan:
        """Return the plan that the job was made from."""
        with self._read() as db:
            row = db.execute("SELECT plan FROM jobs WHERE id = ?", (job_id,)).fetchone()
        if row is None:
            raise _no_job(job_id)
        return Plan.model_validate_json(row[0])

    def list(self, *, unsettled: bool = False) -> Sequence[Job]:
        """Return the jobs, newest first; `unsettled` only those that have not ended."""
        where = f"WHERE status NOT IN ({_TERMINAL})" if unsettled else ""
        with self._read() as db:
            rows = db.execute(f"SELECT record FROM jobs {where} ORDER BY created_at DESC, id DESC").fetchall()
        return [Job.model_validate_json(row[0]) for row in rows]

    def change(self, job_id: str, change: Callable[[Job], Job], *, reopen: bool = False) -> Job:
        """Apply a pure change to the job as it is on disk now, in one transaction, and return the result.

        A terminal status is final: a change to it is ignored unless `reopen` says that the job was resumed.
        """
        with self._write() as db:
            return _change(db, job_id, change, reopen=reopen)

    def record(self, seen: Job, snapshot: Snapshot) -> tuple[Job, Sequence[tuple[int, Event]]]:
        """Keep what a poll brought, in one transaction, and return the job and the new events with their numbers.

        `seen` is the job as it was when the poll began. When another process has changed it meanwhile (polled,
        cancelled or resumed it), the events are still kept, each once by id, but status and cursor stay: they may
        be older than what is known, and the next poll tells them again.
        """
        job_id = seen.id
        with self._write() as db:
            before = job = _one_job(db, job_id)
            new = [added for event in snapshot.events if (added := _add_event(db, job_id, event))]
            for metric in snapshot.metrics:
                db.execute(
                    "INSERT OR IGNORE INTO metrics (job_id, name, step, record) VALUES (?, ?, ?, ?)",
                    (job_id, metric.name, metric.step, _json(metric)),
                )
            if before.updated_at == seen.updated_at:
                job = _change(db, job_id, lambda job: _observed(job, snapshot))
            if job.status != before.status:
                new += [added for added in [_add_event(db, job_id, _status_event(before, job))] if added]
        return job, new

    def add_event(self, job_id: str, event: Event) -> None:
        """Keep one event of TuneBridge's own."""
        with self._write() as db:
            _add_event(db, job_id, event)

    def events(self, job_id: str, *, after: int = 0) -> Sequence[tuple[int, Event]]:
        """Return the job's events with their numbers, oldest first, those after a number."""
        with self._read() as db:
            rows = db.execute(
                "SELECT seq, record FROM events WHERE job_id = ? AND seq > ? ORDER BY seq", (job_id, after)
            ).fetchall()
        return [(seq, Event.model_validate_json(record)) for seq, record in rows]

    def metrics(self, job_id: str) -> Sequence[Metric]:
        """Return the job's metrics by name and step."""
        with self._read() as db:
            rows = db.execute("SELECT record FROM metrics WHERE job_id = ? ORDER BY name, step", (job_id,)).fetchall()
        return [Metric.model_validate_json(row[0]) for row in rows]

    def set_artifacts(self, job_id: str, artifacts: Iterable[Artifact]) -> None:
        """Replace what is known of the job's results."""
        with self._write() as db:
            db.execute("DELETE FROM artifacts WHERE job_id = ?", (job_id,))
            db.executemany(
                "INSERT OR REPLACE INTO artifacts (job_id, uri, record) VALUES (?, ?, ?)",
                [(job_id, artifact.uri, _json(artifact)) for artifact in artifacts],
            )

    def artifacts(self, job_id: str) -> Sequence[Artifact]:
        """Return the job's results."""
        with self._read() as db:
            rows = db.execute("SELECT record FROM artifacts WHERE job_id = ? ORDER BY uri", (job_id,)).fetchall()
        return [Artifact.model_validate_json(row[0]) for row in rows]

    def _prepare(self) -> None:
        if not self._path.exists():
            os.close(os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o600))
        with self._connect() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise StoreError(
                f"The job store {self._path} has version {version}; this TuneBridge knows {len(MIGRATIONS)}. "
                f"Upgrade TuneBridge, or point {HOME} to another folder."
            )
        if version < len(MIGRATIONS):
            self._migrate()

    def _migrate(self) -> None:
        # Two processes may start at once: the second waits here and then finds nothing left to do.
        with filelock.FileLock(self.home / "migrate.lock"), self._connect() as db:
            db.execute("PRAGMA journal_mode = WAL")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
                db.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self._path, timeout=60, isolation_level=None)
        try:
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            yield db
        finally:
            db.close()

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        with _clear_errors(self._path), self._connect() as db:
            yield db

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with _clear_errors(self._path), self._connect() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                if db.in_transaction:  # SQLite has rolled back by itself when the disk is full
                    db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(
            f"The job store {path} cannot be used: {error}. Check the disk's free space and the file's owner."
        ) from error


def _one_job(db: sqlite3.Connection, key: str) -> Job:
    if key == "last":
        rows = db.execute("SELECT record FROM jobs ORDER BY created_at DESC, id DESC LIMIT 1").fetchall()
    else:
        rows = db.execute("SELECT record FROM jobs WHERE id = ?", (key,)).fetchall()
    if not rows and key:
        rows = db.execute(
            "SELECT record FROM jobs WHERE substr(id, 1, ?) = ? OR substr(id, -?) = ?", (len(key), key) * 2
        ).fetchall()
    if len(rows) > 1:
        raise JobNotFound(f"{len(rows)} jobs begin or end with {key!r}. Give more of the id.")
    if not rows:
        raise _no_job(key)
    return Job.model_validate_json(rows[0][0])


def _no_job(key: str) -> JobNotFound:
    return JobNotFound(f"There is no job {key!r} in this store. `tunebridge jobs list` shows what is there.")


def _change(db: sqlite3.Connection, job_id: str, change: Callable[[Job], Job], *, reopen: bool = False) -> Job:
    before = _one_job(db, job_id)
    after = change(before)
    if before.status.is_terminal and after.status != before.status and not reopen:
        after = after.model_copy(update={"status": before.status, "error": before.error})
    if after == before:
        return before
    finished = None if not after.status.is_terminal else after.finished_at or now()
    after = after.model_copy(update={"updated_at": now(), "finished_at": finished})
    db.execute("UPDATE jobs SET status = ?, record = ? WHERE id = ?", (after.status, _json(after), job_id))
    return after


def _observed(job: Job, snapshot: Snapshot) -> Job:
    seen: dict[str, object] = {
        "status": snapshot.status,
        "backend_status": snapshot.backend_status,
        "usage": snapshot.usage,
        "error": snapshot.error,
        "cursor": snapshot.cursor,
    }
    if job.started_at is None and snapshot.status in (JobStatus.preparing, JobStatus.running):
        seen["started_at"] = now()
    # A stop that was asked for is kept in view until the backend has stopped, or has ended all the same.
    if job.status == JobStatus.cancelling and not snapshot.status.is_terminal:
        seen["status"] = JobStatus.cancelling
    return job.model_copy(update=seen)


def _add_event(db: sqlite3.Connection, job_id: str, event: Event) -> tuple[int, Event] | None:
    done = db.execute(
        "INSERT OR IGNORE INTO events (job_id, event_id, record) VALUES (?, ?, ?)",
        (job_id, event.id, _json(event)),
    )
    return (done.lastrowid or 0, event) if done.rowcount else None


def _status_event(before: Job, after: Job) -> Event:
    stamp = f"{after.updated_at:%Y%m%d%H%M%S%f}"
    return Event(
        id=f"tunebridge-status-{after.status}-{stamp}",
        at=after.updated_at,
        kind="status",
        message=f"{before.status} -> {after.status}" + (f": {after.error}" if after.error else ""),
        data={"status": after.status, "backend_status": after.backend_status},
    )


def _json(record: Job | Plan | Event | Metric | Artifact) -> str:
    return record.model_dump_json(exclude_defaults=isinstance(record, Event))
