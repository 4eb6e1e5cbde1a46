"""Trackers get a job's numbers; what fails there never reaches the job."""

import importlib.util
import logging
import os
from pathlib import Path
from typing import Any

import pytest

import tunebridge_sinks
from tunebridge.job import Event, Job, now


@pytest.fixture
def job(tmp_path: Path) -> Job:
    made = Job(
        id="tb-1", backend="local", base_model="random", plan_digest="p", data_fingerprint="f",
        folder=tmp_path / "jobs" / "tb-1", created_at=now(), updated_at=now(),
    )  # fmt: skip
    made.folder.mkdir(parents=True)
    return made


def event(kind: str, id: str, **data: Any) -> Event:
    return Event.model_validate({"id": id, "at": now(), "kind": kind, "message": id, "data": data})


def report(job: Job, to: str) -> Job:
    """Tell a job's life to a tracker."""
    job = job.model_copy(update={"metadata": {"report_to": to}})
    tunebridge_sinks.tunebridge_job_changed(job, event("status", "running", status="running"))
    for step in (1, 2):
        data = {"step": step, "total_steps": 2, "loss": 1.5 / step, "tokens_per_second": 900}
        tunebridge_sinks.tunebridge_job_changed(job, event("progress", f"progress-{step}", **data))
    tunebridge_sinks.tunebridge_job_changed(job, event("log", "validation-2", step=2, validation_loss=0.5))
    tunebridge_sinks.tunebridge_job_changed(job, event("status", "succeeded", status="succeeded"))
    assert not any(key[0] == job.id and sink for key, sink in tunebridge_sinks._open.items())
    return job


@pytest.fixture(autouse=True)
def forget() -> Any:
    yield
    tunebridge_sinks._open.clear()


def needs(package: str) -> Any:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


@needs("tensorboard")
@pytest.mark.filterwarnings("ignore")
def test_tensorboard(job: Job) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    report(job, "tensorboard")
    found = EventAccumulator(str(job.folder / "tensorboard"))
    found.Reload()
    assert [(row.step, row.value) for row in found.Scalars("loss")] == [(1, 1.5), (2, 0.75)]
    assert found.Scalars("validation_loss")[0].value == 0.5


@needs("sqlalchemy")
@needs("mlflow")
@pytest.mark.filterwarnings("ignore")
def test_mlflow_keeps_a_run_in_sqlite(job: Job) -> None:
    from mlflow.tracking import MlflowClient

    report(job, "mlflow")
    client = MlflowClient(f"sqlite:///{job.folder.parent / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("tunebridge").experiment_id])
    assert (run.data.tags["job"], run.info.status) == ("tb-1", "FINISHED")
    assert [row.value for row in client.get_metric_history(run.info.run_id, "loss")] == [1.5, 0.75]
    assert run.data.metrics["validation_loss"] == 0.5


@needs("wandb")
@pytest.mark.filterwarnings("ignore")
def test_wandb_stays_offline(job: Job) -> None:
    before = dict(os.environ)
    report(job, "wandb")
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    (run,) = (job.folder / "wandb").glob("offline-run-*")
    assert list(run.glob("*.wandb"))


@needs("trackio")
@pytest.mark.filterwarnings("ignore")
def test_trackio(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    report(job, "trackio")
    assert list((tmp_path / "trackio").rglob("*.db"))


def test_an_unknown_tracker_is_named_once(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        report(job, "nowhere")
    assert len(caplog.messages) == 1
    assert "Choose among tensorboard, mlflow, wandb, trackio" in caplog.text


def test_a_missing_package_is_named_with_its_command(
    job: Job, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunebridge_sinks.sink.find_spec", lambda name: None)
    report(job, "trackio")
    assert 'pip install "tunebridge[trackio]"' in caplog.text


def test_one_that_fails_leaves_the_others(
    job: Job, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[dict[str, float], int]] = []

    class Good:
        def log(self, values: dict[str, float], step: int) -> None:
            heard.append((values, step))

        def close(self, *, succeeded: bool) -> None:
            assert succeeded

    def explode(job: Job) -> Any:
        raise OSError("disk full")

    sinks = {"tensorboard": explode, "mlflow": lambda job: Good()}
    monkeypatch.setattr(
        tunebridge_sinks, "import_module", lambda name: type("Module", (), {"open_sink": sinks[name.split(".")[1]]})
    )
    report(job, "tensorboard, mlflow")
    assert heard == [
        ({"loss": 1.5, "tokens_per_second": 900.0}, 1),
        ({"loss": 0.75, "tokens_per_second": 900.0}, 2),
        ({"validation_loss": 0.5}, 2),
    ]
    assert caplog.text.count("disk full") == 1


def test_the_environment_names_trackers_too(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tunebridge_sinks.wanted(job) == []
    monkeypatch.setenv(tunebridge_sinks.VARIABLE, "mlflow, wandb")
    assert tunebridge_sinks.wanted(job) == ["mlflow", "wandb"]
