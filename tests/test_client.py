"""What the client keeps true when something goes wrong between two of its steps."""

import logging
import threading
import time
from pathlib import Path

import pytest

from tests.fakes import fake_client, write_job
from tunebridge import submit, watch
from tunebridge.client import Client
from tunebridge.errors import (
    JobFailed,
    JobTimeout,
    NotFound,
    ServiceUnavailable,
    TuneBridgeError,
    UnsupportedFeature,
)
from tunebridge.job import Deployment, Job, JobStatus
from tunebridge.testing.fake import CAPABILITIES, FakeBackend, fake_info
from tunebridge.testing.service import FakeService


def failed_job(folder: Path) -> tuple[Client, Job]:
    """Return a client and a job that has failed."""
    client = fake_client(folder)
    FakeService(folder / "service").inject("job_fails")
    job = client.submit(write_job(folder))
    with pytest.raises(JobFailed):
        client.wait(job.id)
    return client, client.get(job.id)


def use(client: Client, kind: type[FakeBackend], folder: Path, **capabilities: object) -> None:
    """Let the client use another kind of fake backend."""
    info = fake_info(folder / "service", capabilities=CAPABILITIES.model_copy(update=capabilities))
    client._backends["fake"] = kind(FakeService(folder / "service"), info)


def test_results_are_found_when_the_watcher_died_before_it_wrote_them(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    job = client.submit(write_job(tmp_path))
    while not watch.poll_once(client.store, client.backend("fake"), job.id).status.is_terminal:
        pass
    assert client.store.artifacts(job.id) == []
    assert len(fake_client(tmp_path).artifacts(job.id)) == 1


def test_one_job_that_cannot_be_asked_does_not_hide_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = fake_client(tmp_path)
    lost = client.submit(write_job(tmp_path))
    other = client.submit(tmp_path / "job.yaml", again=True)
    FakeService(tmp_path / "service").delete(lost.backend_id or "")
    with caplog.at_level(logging.WARNING):
        found = {job.id: job.status for job in client.list(refresh=True)}
    assert found == {lost.id: JobStatus.queued, other.id: JobStatus.preparing}
    assert lost.id in caplog.text


def test_a_resume_that_is_not_offered_changes_nothing(tmp_path: Path) -> None:
    client, job = failed_job(tmp_path)
    use(client, FakeBackend, tmp_path, resume=False)
    with pytest.raises(UnsupportedFeature):
        client.resume(job.id)
    assert client.store.get(job.id) == job


class Refuses(FakeBackend):
    def resume(self, job: Job) -> None:
        raise NotFound("the checkpoint is gone.", backend="fake", operation="resume")


def test_a_refused_resume_leaves_the_job_as_it_was(tmp_path: Path) -> None:
    client, job = failed_job(tmp_path)
    use(client, Refuses, tmp_path)
    with pytest.raises(NotFound):
        client.resume(job.id)
    left = client.store.get(job.id)
    assert (left.status, left.error) == (job.status, job.error)


class LosesTheAnswer(FakeBackend):
    def resume(self, job: Job) -> None:
        super().resume(job)
        raise ConnectionError


def test_a_resume_whose_answer_is_lost_is_learnt_by_polling(tmp_path: Path) -> None:
    client, job = failed_job(tmp_path)
    use(client, LosesTheAnswer, tmp_path)
    with pytest.raises(ServiceUnavailable):
        client.resume(job.id)
    assert client.get(job.id).status == JobStatus.running
    assert client.wait(job.id).status == JobStatus.succeeded


def test_of_several_resumes_at_once_one_counts(tmp_path: Path) -> None:
    _, job = failed_job(tmp_path)
    said: list[str] = []
    resumed: list[str] = []

    class Slow(FakeBackend):
        def resume(self, job: Job) -> None:
            time.sleep(0.2)
            resumed.append(job.id)
            super().resume(job)

    def resume() -> None:
        client = fake_client(tmp_path)
        use(client, Slow, tmp_path)
        try:
            client.resume(job.id)
        except TuneBridgeError as error:
            said.append(str(error))

    threads = [threading.Thread(target=resume) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert resumed == [job.id]
    assert len(said) == 2


def test_waiting_does_not_outlast_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(watch.time, "sleep", pauses.append)
    client = fake_client(tmp_path)

    class Silent(FakeBackend):
        def poll(self, job: Job, cursor: str | None) -> object:  # type: ignore[override]
            raise ServiceUnavailable("busy", backend="fake", operation="poll", retry_after=3600)

    job = client.submit(write_job(tmp_path))
    use(client, Silent, tmp_path)
    with pytest.raises(JobTimeout):
        client.wait(job.id, timeout_seconds=0.2)
    assert max(pauses) <= 0.2


def test_errors_that_pass_are_waited_out(tmp_path: Path) -> None:
    client = fake_client(tmp_path)

    class Shaky(FakeBackend):
        polls = 0

        def poll(self, job: Job, cursor: str | None) -> object:  # type: ignore[override]
            type(self).polls += 1
            if self.polls % 2:
                raise ServiceUnavailable("busy", backend="fake", operation="poll", retry_after=0.001)
            return super().poll(job, cursor)

    job = client.submit(write_job(tmp_path))
    use(client, Shaky, tmp_path)
    assert client.wait(job.id).status == JobStatus.succeeded


def test_a_job_that_is_not_confirmed_cannot_be_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "RETRY_SECONDS", 0.0)
    client = fake_client(tmp_path)
    FakeService(tmp_path / "service").inject("unavailable_before", times=submit.MAX_ATTEMPTS)
    with pytest.raises(JobFailed):
        client.submit(write_job(tmp_path))
    with pytest.raises(TuneBridgeError, match="reconcile"):
        client.cancel("last")


def test_an_endpoint_is_written_down_before_it_is_made_and_forgotten_when_it_is_gone(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    job = client.wait(client.submit(write_job(tmp_path)).id)
    quoted = client.quote(job.id)
    assert quoted.usd_per_hour is not None
    assert FakeService(tmp_path / "service").endpoints() == []

    class Dies(FakeBackend):
        def deploy(self, job: Job) -> Deployment:
            raise ServiceUnavailable("no answer", backend="fake", operation="deploy")

    use(client, Dies, tmp_path)
    with pytest.raises(ServiceUnavailable):
        client.deploy(job.id)
    assert client.store.get(job.id).deployment == quoted
    again = fake_client(tmp_path)
    made = again.deploy(job.id).deployment
    assert made is not None
    assert made.is_ready
    assert FakeService(tmp_path / "service").endpoints() == [made.name]
    assert again.undeploy(job.id).deployment is None
    assert FakeService(tmp_path / "service").endpoints() == []
