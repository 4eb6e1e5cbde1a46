"""Exactly-once submission: the job is on disk before the billed call, and one job never becomes two.

1. The rows are staged in the job's folder and the job is written durably with status `submitting`.
2. The begun create call is counted, durably; then the backend is asked to create the job, with our id attached.
3. The backend's id is written.

After a crash, a timeout or a 5xx nobody knows whether step 2 took effect. Then `find` decides: what is
there is adopted, and only what is not there is created again.
"""

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tunebridge.backend import Backend
from tunebridge.cost.budget import JobCost
from tunebridge.data.dataset import Dataset
from tunebridge.errors import BackendError, JobFailed, JobNotFound, StoreError, TuneBridgeError
from tunebridge.job import Event, Job, JobStatus, new_job_id, now
from tunebridge.plan import Plan
from tunebridge.spec import JobSpec
from tunebridge.store import Store

TRAIN_FILE = "train.jsonl"
VALIDATION_FILE = "validation.jsonl"
MAX_ATTEMPTS = 3
"""Create calls for one job before it is left for `jobs reconcile`."""
RETRY_SECONDS = 0.1
MAX_RETRY_SECONDS = 60.0
ORPHAN_SECONDS = 3600.0
"""Age of a folder without a job before it is taken for an orphan: a younger one may be being staged."""

logger = logging.getLogger(__name__)


def submit(  # noqa: PLR0913  # what is sent, and on which terms
    store: Store,
    backend: Backend,
    plan: Plan,
    dataset: Dataset,
    *,
    again: bool = False,
    rehearsal: bool = False,
    cost: JobCost | None = None,
) -> Job:
    """Make a Job of a Plan and create it on the backend; DuplicateJob when the same plan is still running.

    The high end of `cost` is reserved first; BudgetExceeded where the caps have no room for it.
    """
    plan.require_sendable()
    job = _new_job(store, plan, rehearsal=rehearsal)
    with store.exclusive(job.id):
        try:
            stage(job, dataset)
            store.add(job, plan, again=again, cost=cost)
        except BaseException:
            _discard(store, job.id)
            raise
        return settle(store, backend, job.id)


def stage(job: Job, dataset: Dataset) -> None:
    """Write the canonical rows into the job's folder, so that the job no longer depends on the user's files."""
    try:
        dataset.train.write(job.folder / TRAIN_FILE)
        if dataset.validation:
            dataset.validation.write(job.folder / VALIDATION_FILE)
    except OSError as error:
        raise StoreError(
            f"The rows could not be written to {job.folder}: {error}. Nothing was submitted; free some space."
        ) from error


def settle(store: Store, backend: Backend, job_id: str) -> Job:
    """Bring a job that may or may not have been created to a known state; the caller holds its lock."""
    job = store.get(job_id)
    plan = store.plan(job_id)
    while job.backend_id is None and not job.status.is_terminal:
        found = _find(backend, job) if job.attempts else None
        if found is not None:
            return _adopt(store, job, found)
        if job.attempts >= MAX_ATTEMPTS:
            return _give_up(store, job)
        job = store.change(job_id, _count_attempt)
        job = _create(store, backend, plan, job)
    return job


def _create(store: Store, backend: Backend, plan: Plan, job: Job) -> Job:
    try:
        backend_id = backend.submit(plan, job)
    except Exception as raised:
        return _after_error(store, job, _classified(backend, raised, "submit"))
    return _adopt(store, job, backend_id)


def _classified(backend: Backend, raised: Exception, operation: str) -> TuneBridgeError:
    return raised if isinstance(raised, TuneBridgeError) else backend.classify(raised, operation)


def _after_error(store: Store, job: Job, error: TuneBridgeError) -> Job:
    """Go back to `find` when the job may have been created or the call may be made again; fail it otherwise."""
    if isinstance(error, BackendError) and _may_go_on(error, job):
        _note(store, job, "warning", f"attempt {job.attempts}: {error}")
        time.sleep(min(error.retry_after or RETRY_SECONDS * 2**job.attempts, MAX_RETRY_SECONDS))
        return store.get(job.id)
    _note(store, job, "error", str(error))
    store.change(job.id, lambda j: j.model_copy(update={"status": JobStatus.failed, "error": str(error)}))
    raise error


def _may_go_on(error: BackendError, job: Job) -> bool:
    return error.outcome_unknown or (error.retryable and job.attempts < MAX_ATTEMPTS)


def _find(backend: Backend, job: Job) -> str | None:
    """Look for the job, as long as a fresh job may stay invisible on this backend."""
    deadline = time.monotonic() + backend.info.capabilities.find_lag_seconds
    while True:
        try:
            found = backend.find(job)
        except Exception as raised:
            raise _classified(backend, raised, "find") from None
        if found is not None or time.monotonic() >= deadline:
            return found
        time.sleep(min(1.0, backend.info.capabilities.find_lag_seconds / 5))


def _adopt(store: Store, job: Job, backend_id: str) -> Job:
    def adopted(current: Job) -> Job:
        return current.model_copy(update={"backend_id": backend_id, "status": JobStatus.queued})

    _note(store, job, "status", f"submitted to {job.backend} as {backend_id}")
    return store.change(job.id, adopted)


def _give_up(store: Store, job: Job) -> Job:
    raise JobFailed(
        f"{job.backend} did not confirm job {job.id} in {job.attempts} attempts, and does not list it. It is kept "
        f"as `submitting`. Run `tunebridge jobs reconcile` when the service is well again.",
        job_id=job.id,
    )


def _count_attempt(job: Job) -> Job:
    return job.model_copy(update={"attempts": job.attempts + 1})


def _note(store: Store, job: Job, kind: str, message: str) -> None:
    event = Event.model_validate(
        {"id": f"tunebridge-submit-{kind}-{job.attempts}", "at": now(), "kind": kind, "message": message}
    )
    store.add_event(job.id, event)


def _new_job(store: Store, plan: Plan, *, rehearsal: bool) -> Job:
    spec = JobSpec.model_validate(plan.spec)
    job_id, created = new_job_id(), now()
    return Job(
        id=job_id,
        name=spec.name,
        backend=plan.backend,
        base_model=plan.base_model,
        plan_digest=plan.digest,
        data_fingerprint=plan.data.fingerprint,
        train_fingerprint=plan.data.train_fingerprint,
        validation_fingerprint=plan.data.validation_fingerprint,
        folder=store.folder(job_id),
        created_at=created,
        updated_at=created,
        rehearsal=rehearsal,
        connection=plan.connection,
        metadata=spec.metadata,
    )


def resume(store: Store, backend: Backend, job: Job) -> Job:
    """Go on with a job that is paused or has ended, from its last checkpoint; the caller holds its lock.

    The intent is written first, as `submitting`: after a crash or a lost answer the next poll learns whether it
    runs. A backend that says no leaves the job as it was.
    """
    can = backend.info.capabilities
    if not (can.pause if job.status == JobStatus.paused else can.resume):
        raise backend.unsupported("resume")
    intent, before = {"status": JobStatus.submitting, "error": None}, {"status": job.status, "error": job.error}
    job = store.change(job.id, lambda j: j.model_copy(update=intent), reopen=True)
    try:
        backend.resume(job)
    except Exception as raised:
        error = _classified(backend, raised, "resume")
        if not (isinstance(error, BackendError) and error.outcome_unknown):
            store.change(job.id, lambda j: j.model_copy(update=before))
        raise error from None
    return store.change(job.id, lambda j: j.model_copy(update={"status": JobStatus.queued}))


@dataclass
class Reconciliation:
    """What `reconcile` did."""

    settled: list[Job] = field(default_factory=list)
    """Jobs of this store whose state is known again."""
    failed: dict[str, str] = field(default_factory=dict)
    """Job id -> why its state is still unknown; a backend's name -> why its jobs could not be listed."""
    removed_folders: list[str] = field(default_factory=list)
    """Folders of jobs that were never written down, because the process died before it."""
    foreign: dict[str, list[str]] = field(default_factory=dict)
    """Backend -> ids of remote jobs that no job of this store stands for."""


def reconcile(store: Store, backends: Sequence[Backend], backend_of: Callable[[Job], Backend | None]) -> Reconciliation:
    """Settle every job whose create call has an unknown outcome, and list remote jobs that this store does not know.

    `backend_of` returns the backend that a job was sent to, None where it is not installed; `backends` are listed.
    """
    result = Reconciliation(removed_folders=_remove_orphans(store))
    for job in store.list(unsettled=True):
        backend = backend_of(job) if job.backend_id is None else None
        if backend is not None:
            _reconcile_one(store, backend, job, result)
    for backend in backends:
        if backend.info.capabilities.list_jobs:
            _list_foreign(store, backend, result)
    return result


def _list_foreign(store: Store, backend: Backend, result: Reconciliation) -> None:
    """One backend that cannot be asked must not hide what was learnt of the others."""
    name = backend.info.name
    ours = {job.backend_id for job in store.list() if job.backend == name}
    try:
        result.foreign[name] = [remote.backend_id for remote in backend.list_jobs() if remote.backend_id not in ours]
    except Exception as raised:
        result.failed[name] = str(_classified(backend, raised, "list_jobs"))


def _reconcile_one(store: Store, backend: Backend, job: Job, result: Reconciliation) -> None:
    try:
        with store.exclusive(job.id, timeout_seconds=5):
            store.change(job.id, lambda j: j.model_copy(update={"attempts": min(j.attempts, MAX_ATTEMPTS - 1)}))
            result.settled.append(settle(store, backend, job.id))
    except TuneBridgeError as error:
        result.failed[job.id] = str(error)


def _remove_orphans(store: Store) -> list[str]:
    """Remove folders without a job: the process died between staging the rows and writing the job."""
    known = {job.id for job in store.list()}
    folders = sorted((store.home / "jobs").glob("tb-*"))
    old = [f.name for f in folders if f.name not in known and time.time() - f.stat().st_mtime > ORPHAN_SECONDS]
    for job_id in old:
        _discard(store, job_id)
    return old


def _discard(store: Store, job_id: str) -> None:
    """Remove a job's folder unless the job was written down after all."""
    try:
        store.get(job_id)
    except JobNotFound:
        shutil.rmtree(store.folder(job_id), ignore_errors=True)
