"""Checks that run jobs: life cycle, events, what is declared, faults, secrets."""

import math
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tunebridge import submit
from tunebridge.backend import GenerationParameters
from tunebridge.data.example import Message
from tunebridge.errors import (
    AuthenticationError,
    BackendError,
    QuotaExceeded,
    TuneBridgeError,
    UnsupportedFeature,
)
from tunebridge.job import Deployment, Job, JobStatus, new_job_id
from tunebridge.testing.case import ConformanceError, Lab, Skipped

QUESTION = ((Message(role="user", content="What is the colour of ball 1?"),),)


def check_life_cycle(lab: Lab) -> None:
    """A job is submitted, followed to its end, and has results."""
    job = lab.finished.job
    if job.status != JobStatus.succeeded:
        raise ConformanceError(f"the sample job ended as {job.status}: {job.error}")
    if not lab.backend.artifacts(job):
        raise ConformanceError("a job that succeeded has no artifacts")


def check_find(lab: Lab) -> None:
    """`find` gives the id of a job that carries ours, and None for one that was never created."""
    job = lab.finished.job
    if lab.backend.find(job) != job.backend_id:
        raise ConformanceError(f"find gives {lab.backend.find(job)!r} for a job whose id is {job.backend_id!r}")
    stranger = job.model_copy(update={"id": new_job_id(), "folder": lab.folder / "nowhere"})
    if lab.backend.find(stranger) is not None:
        raise ConformanceError("find gives an id for a job that was never created")


def check_terminal_is_final(lab: Lab) -> None:
    """A job that has ended stays as it ended."""
    run = lab.finished
    for _ in range(3):
        status = lab.backend.poll(run.job, run.job.cursor).status
        if status != run.job.status:
            raise ConformanceError(f"a job that had {run.job.status} is {status} at the next poll")


def check_no_event_twice(lab: Lab) -> None:
    """Polling with the cursor gives each event once; ids are unique."""
    _need(lab.info.capabilities.events, "no events are declared")
    ids = [event.id for snapshot in lab.finished.snapshots for event in snapshot.events]
    if len(ids) != len(set(ids)):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise ConformanceError(f"the event {twice!r} was given twice")
    if not ids:
        raise ConformanceError("events are declared and none was given")


def check_no_event_lost(lab: Lab) -> None:
    """Polling without a cursor gives every event again, in the same order, and in order of time."""
    _need(lab.info.capabilities.events, "no events are declared")
    run = lab.finished
    once = [event.id for snapshot in run.snapshots for event in snapshot.events]
    whole = lab.backend.poll(run.job, None).events
    if [event.id for event in whole][: len(once)] != once:
        raise ConformanceError("polling from the beginning gives other events than following with the cursor did")
    times = [event.at for event in whole]
    if times != sorted(times):
        raise ConformanceError("events are not in order of time")


def check_metrics(lab: Lab) -> None:
    """Metrics are finite and have steps, where they are declared."""
    _need(lab.info.capabilities.metrics, "no metrics are declared")
    metrics = [metric for snapshot in lab.finished.snapshots for metric in snapshot.metrics]
    if not metrics or not all(math.isfinite(metric.value) for metric in metrics):
        raise ConformanceError("metrics are declared and none, or one that is not finite, was given")


def check_cancel(lab: Lab) -> None:
    """A job that is asked to stop ends as cancelled, where that is declared."""
    job = lab.submit()
    if not lab.info.capabilities.cancel:
        _must_refuse(lambda: lab.backend.cancel(job), "cancel")
        return
    job = lab.until(job, JobStatus.running, JobStatus.preparing)
    lab.backend.cancel(job)
    asked = lab.store.change(job.id, lambda j: j.model_copy(update={"status": JobStatus.cancelling}))
    ended = lab.follow(asked).job
    if ended.status != JobStatus.cancelled:
        raise ConformanceError(f"a job that was cancelled ended as {ended.status}")


def check_pause(lab: Lab) -> None:
    """A job that is paused waits, goes on when it is resumed, and succeeds, where that is declared."""
    job = lab.submit()
    if not lab.info.capabilities.pause:
        _must_refuse(lambda: lab.backend.pause(job), "pause")
        return
    job = lab.until(job, JobStatus.running)
    lab.backend.pause(job)
    job = lab.until(job, JobStatus.paused)
    if job.status != JobStatus.paused:
        raise ConformanceError(f"a job that was paused is {job.status}")
    with lab.store.exclusive(job.id):
        job = submit.resume(lab.store, lab.backend, job)
    ended = lab.follow(job).job
    if ended.status != JobStatus.succeeded:
        raise ConformanceError(f"a job that was paused and resumed ended as {ended.status}: {ended.error}")


def check_resume(lab: Lab) -> None:
    """A cancelled job goes on and succeeds, where that is declared."""
    can = lab.info.capabilities
    if not can.resume:
        _must_refuse(lambda: lab.backend.resume(lab.finished.job), "resume")
        return
    _need(can.cancel, "nothing can be cancelled to be resumed")
    job = lab.until(lab.submit(), JobStatus.running)
    lab.backend.cancel(job)
    job = lab.follow(lab.store.change(job.id, lambda j: j.model_copy(update={"status": JobStatus.cancelling}))).job
    with lab.store.exclusive(job.id):
        job = submit.resume(lab.store, lab.backend, job)
    ended = lab.follow(job).job
    if ended.status != JobStatus.succeeded:
        raise ConformanceError(f"a job that was resumed ended as {ended.status}: {ended.error}")


def check_deploy(lab: Lab) -> None:
    """An endpoint is quoted, made once, seen, and removed with nothing left, where one can be made."""
    job = lab.finished.job
    needed, declared = lab.backend.needs_endpoint(job), lab.info.capabilities.deploy
    if needed and not declared:
        raise ConformanceError("the job's model needs an endpoint, and none can be made")
    if not declared or (not needed and isinstance(_raised(lambda: lab.backend.quote(job)), UnsupportedFeature)):
        for call in (lab.backend.quote, lab.backend.deploy):
            _must_refuse(partial(call, job), "deploy")
        return
    quoted = lab.backend.quote(job)
    if quoted.usd_per_hour is None and not quoted.price_note:
        raise ConformanceError("an endpoint without a price does not say why there is none")
    if lab.backend.deployment(job) is not None:
        raise ConformanceError("a quote made an endpoint")
    job = _deployed(lab)
    if lab.backend.deploy(job).name != job.deployment.name:  # type: ignore[union-attr]  # it was just made
        raise ConformanceError("deploying twice made two endpoints")
    for _ in range(2):
        lab.backend.undeploy(job)
    if lab.backend.deployment(job) is not None:
        raise ConformanceError("an endpoint is left after undeploy")


def _deployed(lab: Lab) -> Job:
    """Return the finished job with an endpoint that answers."""
    job = lab.finished.job.model_copy(update={"deployment": lab.backend.quote(lab.finished.job)})
    found: Deployment | None = lab.backend.deploy(job)
    deadline = time.monotonic() + lab.case.timeout_seconds
    while found is not None and not found.is_ready and time.monotonic() < deadline:
        time.sleep(min(lab.info.capabilities.poll_seconds, 0.5))
        found = lab.backend.deployment(job)
    if found is None or not found.is_ready:
        raise ConformanceError("an endpoint that was made is not there, or never gets ready")
    return job.model_copy(update={"deployment": found})


def check_generate(lab: Lab) -> None:
    """The tuned model answers every prompt, in order, where that is declared."""
    job, parameters = lab.finished.job, GenerationParameters(max_tokens=4)
    if lab.info.capabilities.inference and lab.backend.needs_endpoint(job):
        if _raised(lambda: list(lab.backend.generate(job, QUESTION, parameters))) is None:
            raise ConformanceError("a model that needs an endpoint answers without one")
        job = _deployed(lab)
    if not lab.info.capabilities.inference:
        _must_refuse(lambda: list(lab.backend.generate(job, QUESTION, parameters)), "generate")
        return
    answers = list(lab.backend.generate(job, QUESTION * 3, parameters))
    if len(answers) != 3:
        raise ConformanceError(f"3 prompts got {len(answers)} answers")


def check_download(lab: Lab) -> None:
    """Results are copied and are what the digest says, where that is declared."""
    job = lab.finished.job
    artifact = lab.backend.artifacts(job)[0]
    folder = lab.folder / "download"
    if not lab.info.capabilities.download:
        _must_refuse(lambda: lab.backend.download(job, artifact, folder), "download")
        return
    path = lab.backend.download(job, artifact, folder)
    if not path.exists() or folder not in path.parents:
        raise ConformanceError(f"download gave {path}, which is not a file or folder in {folder}")
    if artifact.digest:
        other = artifact.model_copy(update={"digest": "sha256:" + "0" * 64})
        if _raised(lambda: lab.backend.download(job, other, lab.folder / "tampered")) is None:
            raise ConformanceError("download gave a result whose digest is another one than the artifact's")


def check_list_jobs(lab: Lab) -> None:
    """The backend's jobs are listed, ours with our id, where that is declared."""
    if not lab.info.capabilities.list_jobs:
        _must_refuse(lambda: list(lab.backend.list_jobs()), "list_jobs")
        return
    job = lab.finished.job
    if job.id not in {remote.job_id for remote in lab.backend.list_jobs()}:
        raise ConformanceError("list_jobs does not give a job that was submitted")


def check_delete(lab: Lab) -> None:
    """What a job left is deleted, where that is declared: nothing is found of it, or no result is left."""
    if not lab.info.capabilities.delete:
        _must_refuse(lambda: lab.backend.delete(lab.finished.job), "delete")
        return
    job = lab.follow(lab.submit()).job
    lab.backend.delete(job)
    if lab.backend.find(job) is not None and lab.backend.artifacts(job):
        raise ConformanceError("a job that was deleted still has results")


def check_lost_answer(lab: Lab) -> None:
    """When the answer to a create is lost, the job is found and not created again."""
    for fault in ("unavailable_after", "dropped_after"):
        before = _remote_jobs(lab)
        _inject(lab, fault)
        lab.submit()
        if _remote_jobs(lab) != before + 1:
            raise ConformanceError(f"{fault}: {_remote_jobs(lab) - before} jobs were made instead of one")


def check_create_fails_before(lab: Lab) -> None:
    """When a create fails before it takes effect, it is made again, once."""
    for fault in ("unavailable_before", "rate_limited"):
        before = _remote_jobs(lab)
        _inject(lab, fault)
        lab.submit()
        if _remote_jobs(lab) != before + 1:
            raise ConformanceError(f"{fault}: {_remote_jobs(lab) - before} jobs were made instead of one")


def check_refusals_are_classified(lab: Lab) -> None:
    """Refused credentials and quotas raise the error of that name, and no job is made."""
    for fault, kind in (("bad_credentials", AuthenticationError), ("quota", QuotaExceeded)):
        before = _remote_jobs(lab)
        _inject(lab, fault)
        raised = _raised(lab.submit)
        if not isinstance(raised, kind):
            raise ConformanceError(f"{fault} raises {type(raised).__name__} instead of {kind.__name__}")
        if _remote_jobs(lab) != before:
            raise ConformanceError(f"{fault}: a job was made all the same")


def check_unknown_word(lab: Lab) -> None:
    """A word that the backend's table does not have becomes `unknown`, and the word is kept."""
    job = lab.submit()
    _inject(lab, "unknown_word")
    snapshot = lab.backend.poll(job, None)
    if snapshot.status != JobStatus.unknown or not snapshot.backend_status or snapshot.backend_status == "unknown":
        raise ConformanceError(f"an unknown word became {snapshot.status} ({snapshot.backend_status!r})")


def check_job_that_fails(lab: Lab) -> None:
    """A job that fails is failed, with a reason."""
    job = lab.submit()
    _inject(lab, "job_fails")
    ended = lab.follow(job).job
    if ended.status != JobStatus.failed or not ended.error:
        raise ConformanceError(f"a job that failed is {ended.status}, reason {ended.error!r}")


def check_no_vendor_error_escapes(lab: Lab) -> None:
    """Whatever the vendor's SDK raises arrives as a BackendError."""
    job = lab.submit()
    _inject(lab, "sdk_error")
    raised = _raised(lambda: lab.backend.poll(job, None))
    if not isinstance(raised, BackendError):
        raise ConformanceError(f"{type(raised).__name__} left the backend instead of a BackendError")


def check_secrets(lab: Lab) -> None:
    """No secret of the environment is written anywhere or said by an error."""
    _need(bool(lab.case.secrets), "the case names no secrets")
    job = lab.finished.job
    said = [repr(job), repr(lab.backend), lab.backend.check().detail]
    said += (event.model_dump_json() for _, event in lab.store.events(job.id))
    for fault in ("bad_credentials", "sdk_error") if lab.case.inject else ():
        _inject(lab, fault)
        if raised := _raised(lab.submit):
            said += traceback.format_exception(raised)
    places = [*(("what is said", text.encode()) for text in said), *((str(p), content) for p, content in lab.written())]
    for place, content in places:
        for name, value in lab.case.secrets.items():
            if value.encode() in content:
                raise ConformanceError(f"the secret {name} stands in {place}")


def check_store_is_private(lab: Lab) -> None:
    """Nobody but the owner can read what the store and the jobs hold."""
    _ = lab.finished
    for path, _content in lab.written():
        if any(_is_open(folder) for folder in (path.parent, path)) and not _is_below_private(path, lab.store.home):
            raise ConformanceError(f"{path} can be read by others")


def _is_open(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o077)


def _is_below_private(path: Path, home: Path) -> bool:
    return any(not _is_open(parent) for parent in path.parents if home in (parent, *parent.parents))


def _need(condition: bool, reason: str) -> None:
    if not condition:
        raise Skipped(reason)


def _inject(lab: Lab, fault: str) -> None:
    _need(lab.case.inject is not None, "the case injects no faults")
    lab.case.inject(fault)  # type: ignore[misc]  # checked in the line above


def _remote_jobs(lab: Lab) -> int:
    _need(lab.case.count_remote_jobs is not None, "the case does not count remote jobs")
    return lab.case.count_remote_jobs()  # type: ignore[misc]  # checked in the line above


def _must_refuse(call: Callable[[], Any], feature: str) -> None:
    raised = _raised(call)
    if not isinstance(raised, UnsupportedFeature):
        found = type(raised).__name__ if raised else "nothing"
        raise ConformanceError(f"{feature} is not declared; it raises {found} instead of UnsupportedFeature")


def _raised(call: Callable[[], Any]) -> Exception | None:
    try:
        call()
    except TuneBridgeError as error:
        return error
    except Exception as error:  # what a broken backend lets through is what the checks look for
        return error
    return None
