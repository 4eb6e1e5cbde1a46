"""A rehearsal runs against the emulator, is marked as one, and never touches the real service."""

from pathlib import Path

import pytest

from tests.fakes import fake_client, write_job
from tunebridge.backend import BackendInfo
from tunebridge.client import Client
from tunebridge.errors import UnsupportedFeature
from tunebridge.job import JobStatus
from tunebridge.testing.fake import CAPABILITIES
from tunebridge.testing.service import FakeService


def real_jobs(folder: Path) -> int:
    return len(FakeService(folder / "service").jobs())


def test_a_rehearsal_goes_to_the_emulator_and_can_be_followed_from_elsewhere(tmp_path: Path) -> None:
    job = fake_client(tmp_path).submit(write_job(tmp_path), rehearse=True)
    other = fake_client(tmp_path)
    done = other.wait(job.id)
    assert (done.status, done.rehearsal) == (JobStatus.succeeded, True)
    assert len(other.artifacts(job.id)) == 1
    assert real_jobs(tmp_path) == 0


def test_stand_ins_fill_what_the_job_leaves_open(tmp_path: Path) -> None:
    client, job_file = fake_client(tmp_path), write_job(tmp_path)
    job_file.write_text("backend: fake\nbase_model: {other: m}\ndata: {train: rows.jsonl}\n")
    job = client.submit(job_file, rehearse=True)
    assert job.base_model == "fake-small"
    assert client.store.plan(job.id).payload["priority"] == 1
    own = client.submit(job_file, rehearse=True, overrides=["base_model=mine", "options.fake.priority=7"])
    assert own.base_model == "mine"
    assert client.store.plan(own.id).payload["priority"] == 7


def test_a_rehearsal_and_the_real_job_do_not_stand_in_each_others_way(tmp_path: Path) -> None:
    client, job_file = fake_client(tmp_path), write_job(tmp_path, "options: {fake: {priority: 1}}\n")
    rehearsal = client.submit(job_file, rehearse=True)
    real = client.submit(job_file)
    assert client.store.get(rehearsal.id).plan_digest == real.plan_digest
    assert real_jobs(tmp_path) == 1


def test_a_lost_rehearsal_is_reconciled_with_the_emulator(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    stage = FakeService(client.store.home / "rehearsals" / "fake")
    stage.inject("unavailable_before", times=3)
    with pytest.raises(Exception, match="reconcile"):
        client.submit(write_job(tmp_path), rehearse=True)
    (settled,) = fake_client(tmp_path).reconcile().settled
    assert settled.status == JobStatus.queued
    assert len(stage.jobs()) == 1
    assert real_jobs(tmp_path) == 0


def test_a_backend_without_an_emulator_says_so(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    bare = BackendInfo(name="fake", title="", capabilities=CAPABILITIES, load=client.plugins.backend("fake").load)
    plain = Client(tmp_path / "store", plugins=client.plugins)
    plain.plugins.backend = lambda name: bare  # type: ignore[method-assign]
    with pytest.raises(UnsupportedFeature, match="no emulator"):
        plain.submit(write_job(tmp_path), rehearse=True)
