"""One job never becomes two: lost answers in any order, kill -9 at any point, several processes at once."""

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import fake_client, fake_spec, write_job
from tests.processes import run_at_once
from tunebridge import submit
from tunebridge.errors import AuthenticationError, BackendError, InvalidRequest, ServiceUnavailable, StoreError
from tunebridge.job import Job, JobStatus
from tunebridge.store import Store
from tunebridge.testing.case import small_dataset
from tunebridge.testing.fake import CAPABILITIES, FakeBackend, fake_info
from tunebridge.testing.service import FakeService

MAY_PASS = ("unavailable_before", "unavailable_after", "dropped_after", "rate_limited")
FINAL = ("bad_credentials", "quota")
ROWS = small_dataset()


class Room:
    """A store, a service and a backend in one folder."""

    def __init__(self, folder: Path, kind: type[FakeBackend] = FakeBackend, **capabilities: Any) -> None:
        self.service = FakeService(folder / "service")
        info = fake_info(folder / "service", capabilities=CAPABILITIES.model_copy(update=capabilities))
        self.backend, self.store = kind(self.service, info), Store(folder / "store")

    def submit(self) -> Job:
        """Submit the smallest job."""
        return submit.submit(self.store, self.backend, self.backend.plan(fake_spec(), ROWS), ROWS, again=True)

    @property
    def names(self) -> list[str]:
        """Our ids, as the service's jobs carry them."""
        return [job["name"] for job in self.service.jobs().values()]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "RETRY_SECONDS", 0.0)


def test_a_hundred_submits_with_any_faults_make_one_job_each(tmp_path: Path) -> None:
    room, dice = Room(tmp_path), random.Random(7)
    for trial in range(100):
        faults = dice.sample((*MAY_PASS, *FINAL), dice.randint(0, 3))
        for fault in (*MAY_PASS, *FINAL):
            room.service.inject(fault, times=dice.randint(1, 2) if fault in faults else 0)
        before = len(room.names)
        try:
            room.submit()
        except (BackendError, submit.JobFailed):
            room.service.inject(faults[0], times=0)
        newest = room.store.list()[0]
        created = len(room.names) - before
        assert created <= 1, (trial, faults)
        if newest.status == JobStatus.queued:
            assert created == 1, (trial, faults)
    for fault in (*MAY_PASS, *FINAL):
        room.service.inject(fault, times=0)
    assert submit.reconcile(room.store, [room.backend], lambda _: room.backend).failed == {}
    states = {job.id: job.status for job in room.store.list()}
    assert len(set(room.names)) == len(room.names)
    assert set(room.names) == {job_id for job_id, status in states.items() if status != JobStatus.failed}


def test_a_job_that_is_not_found_at_once_is_waited_for(tmp_path: Path) -> None:
    room = Room(tmp_path, find_lag_seconds=2.0)
    room.service.inject("dropped_after")
    room.service.inject("find_lags", times=2)
    assert room.submit().status == JobStatus.queued
    assert len(room.names) == 1


@pytest.mark.parametrize(("fault", "error"), [("bad_credentials", AuthenticationError), ("sdk_error", InvalidRequest)])
def test_a_refused_job_has_failed_and_says_why(fault: str, error: type[BackendError], tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.service.inject(fault)
    with pytest.raises(error):
        room.submit()
    job = room.store.list()[0]
    assert (job.status, job.error is not None) == (JobStatus.failed, True)
    assert room.names == []


class CannotFind(FakeBackend):
    def find(self, job: Job) -> str | None:
        raise OSError("connection reset")


def test_a_find_that_explodes_leaves_the_job_unsettled_and_the_others_settled(tmp_path: Path) -> None:
    room = Room(tmp_path, CannotFind)
    room.service.inject("dropped_after")
    with pytest.raises(ServiceUnavailable):
        room.submit()
    (job,) = room.store.list()
    assert job.status == JobStatus.submitting
    assert job.id in submit.reconcile(room.store, [room.backend], lambda _: room.backend).failed
    well = FakeBackend(room.service, room.backend.info)
    assert [settled.id for settled in submit.reconcile(room.store, [well], lambda _: well).settled] == [job.id]
    assert room.names == [job.id]


class CannotList(FakeBackend):
    def list_jobs(self) -> Iterator[Any]:
        raise OSError("connection reset")


def test_a_backend_that_cannot_list_hides_nothing(tmp_path: Path) -> None:
    room = Room(tmp_path, CannotList)
    room.service.inject("unavailable_before", times=submit.MAX_ATTEMPTS)
    with pytest.raises(submit.JobFailed):
        room.submit()
    done = submit.reconcile(room.store, [room.backend], lambda _: room.backend)
    assert len(done.settled) == 1
    assert "list_jobs" in done.failed["fake"]


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.fakes import fake_client
from tunebridge import store, submit
from tunebridge.testing import service

def then_die(function):
    def wrapped(*arguments, **named):
        function(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)
    return wrapped

owner = {{"submit": submit, "store": store.Store, "service": service.FakeService}}[{owner!r}]
setattr(owner, {name!r}, then_die(getattr(owner, {name!r})))
fake_client(Path({folder!r})).submit(Path({folder!r}) / "job.yaml")
"""
POINTS = [
    ("submit", "stage", 0),
    ("store", "add", 1),
    ("submit", "_count_attempt", 1),
    ("store", "change", 1),
    ("service", "create", 1),
    ("submit", "_note", 1),
]


@pytest.mark.parametrize(("owner", "name", "jobs"), POINTS)
def test_a_submit_killed_at_any_point_becomes_one_job(owner: str, name: str, jobs: int, tmp_path: Path) -> None:
    write_job(tmp_path)
    code = KILLED.format(owner=owner, name=name, folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, cwd=ROOT)
    assert done.returncode == -9, done.stderr
    client, service = fake_client(tmp_path), FakeService(tmp_path / "service")
    assert len(client.list()) == jobs
    client.reconcile()
    if not jobs:
        client.submit(tmp_path / "job.yaml")
    assert [job.status for job in client.list()] == [JobStatus.queued]
    assert [job["name"] for job in service.jobs().values()] == [client.list()[0].id]


def test_folders_of_jobs_that_never_were_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(tmp_path)
    job = room.submit()
    left = room.store.folder("tb-20260101-000000-aaaaaa")
    assert submit.reconcile(room.store, [], lambda _: None).removed_folders == []
    monkeypatch.setattr(submit, "ORPHAN_SECONDS", -1.0)
    assert submit.reconcile(room.store, [], lambda _: None).removed_folders == [left.name]
    assert not left.exists()
    assert job.folder.exists()


def test_of_several_processes_one_submits(tmp_path: Path) -> None:
    write_job(tmp_path)
    code = """
from tunebridge.errors import DuplicateJob
try:
    print(fake_client(folder).submit(folder / "job.yaml").id)
except DuplicateJob as error:
    print("refused", error.job_id)
"""
    said = [line.split() for line in run_at_once(code, tmp_path, processes=4)]
    (winner,) = [words[0] for words in said if len(words) == 1]
    assert [words for words in said if len(words) > 1] == [["refused", winner]] * 3
    assert len(FakeService(tmp_path / "service").jobs()) == 1


def test_rows_that_cannot_be_written_stop_the_submit(tmp_path: Path) -> None:
    room = Room(tmp_path)
    job = Job.model_validate({**room.submit().model_dump(), "folder": tmp_path / "nowhere"})
    with pytest.raises(StoreError, match="Nothing was submitted"):
        submit.stage(job, ROWS)


ROOT = Path(__file__).parent.parent
