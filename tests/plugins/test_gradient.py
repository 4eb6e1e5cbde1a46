"""Gradient.AI against its emulator, with the unchanged SDK."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tunebridge import submit, watch
from tunebridge.backend import GenerationParameters
from tunebridge.data.example import Message
from tunebridge.errors import NotFound, SpecError
from tunebridge.job import Job, JobStatus
from tunebridge.plan import Plan
from tunebridge.spec import JobSpec
from tunebridge.store import Store
from tunebridge.testing.case import BackendCase, small_dataset
from tunebridge.testing.suite import BackendConformance

pytest.importorskip("gradientai")
pytestmark = pytest.mark.torch

from tunebridge_gradient import worker  # noqa: E402
from tunebridge_gradient.backend import GradientBackend, worker_folder  # noqa: E402
from tunebridge_gradient.conformance import HOST, connected  # noqa: E402
from tunebridge_gradient.emulator import BASE_MODEL, Emulator  # noqa: E402

JOB = {"backend": "gradient", "base_model": BASE_MODEL, "data": {"train": "rows.jsonl"}}
FOUR_CALLS = {"hyperparameters": {"epochs": 2}, "options": {"gradient": {"host": HOST, "chunk_samples": 6}}}


class TestGradient(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> BackendCase:
        from tunebridge_gradient.conformance import case

        return case()


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    running = Emulator(tmp_path / "workspace").start()
    yield running
    running.wire.stop()


def spec(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({**JOB, **FOUR_CALLS, **fields})


def plan(**fields: Any) -> Plan:
    return GradientBackend().plan(spec(**fields), small_dataset())


def refused(made: Plan) -> dict[str, str]:
    return {line.field: line.reason for line in made.refused}


def submitted(
    emulator: Emulator, folder: Path, backend: GradientBackend | None = None, **fields: Any
) -> tuple[Store, GradientBackend, Job]:
    store, backend, data = Store(folder / "store"), backend or connected(emulator), small_dataset()
    made = backend.plan(spec(**fields), data)
    return store, backend, submit.submit(store, backend, made, data, again=True)


def followed(store: Store, backend: GradientBackend, job: Job) -> Job:
    while not job.status.is_terminal:
        job = watch.poll_once(store, backend, job.id)
        time.sleep(0.1)
    return job


def without_a_worker(emulator: Emulator) -> GradientBackend:
    backend = connected(emulator)
    backend._launch = lambda folder: None
    return backend


def test_a_plan_is_an_adapter_and_its_calls() -> None:
    made = plan(method={"adapter": {"rank": 8}}, hyperparameters={"epochs": 2, "learning_rate": 1e-3, "seed": 3})
    assert not made.refused
    assert made.connection == {"host": HOST}
    assert made.payload["adapter"] == {"base_model": BASE_MODEL, "rank": 8, "learning_rate": 1e-3}
    assert made.payload["calls"] == {
        "chunk_samples": 6,
        "timeout_seconds": 600.0,
        "epochs": 2,
        "seed": 3,
        "shape": "inputs",
    }
    assert "applied twice" in made.warnings[0]


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"hyperparameters": {"epochs": 1.5}}, "hyperparameters.epochs", "whole passes"),
        ({"hyperparameters": {"learning_rate": 1.0}}, "hyperparameters.learning_rate", "below 1"),
        ({"hyperparameters": {"batch_size": 4}}, "hyperparameters.batch_size", "nothing like it"),
        ({"method": {"adapter": {"rank": 33}}}, "method.adapter.rank", "1 to 32"),
        ({"method": "dpo"}, "method.type", "possible: sft"),
        ({"method": {"adapter": "full"}}, "method.adapter.type", "possible: lora"),
    ],
)
def test_what_the_service_does_not_take_is_refused(fields: dict[str, Any], field: str, says: str) -> None:
    assert says in refused(plan(**fields))[field]


def test_a_host_must_be_named_because_the_public_one_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="host"):
        plan(options={"gradient": {}})
    for name in ("GRADIENT_API_URL", "GRADIENT_ACCESS_TOKEN", "GRADIENT_WORKSPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    check = GradientBackend().check()
    assert not check.ok
    assert "The public service is closed" in check.detail
    assert "closed its self-serve platform in 2024" in (GradientBackend.info.notice or "")


def test_a_life_from_rows_to_an_answer(emulator: Emulator, tmp_path: Path) -> None:
    store, backend, job = submitted(emulator, tmp_path)
    job = followed(store, backend, job)
    assert job.status == JobStatus.succeeded, job.error
    (adapter,) = emulator.adapters().values()
    assert (adapter["name"], adapter["calls"]) == (job.id, 4)
    losses = [metric.value for metric in store.metrics(job.id)]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    # 12 rows, 2 passes; of each row only " red" and the end are trained, not the prompt.
    tokens = job.usage.trained_tokens or 0
    assert tokens % 24 == 0
    assert tokens // 24 <= 6
    (model,) = backend.artifacts(job)
    asked = [(Message(role="user", content=f"What is the colour of ball {n}?"),) for n in range(2)]
    assert len(list(backend.generate(job, asked, GenerationParameters(max_tokens=4)))) == 2
    for path in tmp_path.rglob("*"):
        if path.is_file() and path != tmp_path / "workspace" / "service.json":
            assert emulator.token.encode() not in path.read_bytes(), path
    backend.delete(job)
    assert backend.artifacts(job) == []
    with pytest.raises(NotFound):
        list(backend.generate(job, asked, GenerationParameters()))


def test_a_chunk_whose_answer_is_lost_is_sent_again_and_it_is_said(emulator: Emulator, tmp_path: Path) -> None:
    emulator.faults.inject("chunk_lost")
    store, backend, job = submitted(emulator, tmp_path)
    assert followed(store, backend, job).status == JobStatus.succeeded
    (adapter,) = emulator.adapters().values()
    assert adapter["calls"] == 5
    (warning,) = [event for _, event in store.events(job.id) if event.kind == "warning"]
    assert "it may have been applied, and is then applied twice" in warning.message


def test_a_killed_worker_is_seen_and_a_resume_repeats_no_chunk_that_is_known(
    emulator: Emulator, tmp_path: Path
) -> None:
    calls = {"options": {"gradient": {"host": HOST, "chunk_samples": 1}}}
    store, backend, job = submitted(emulator, tmp_path, **calls)
    folder = worker_folder(job)
    while len(worker.applied(folder)) < 2:
        time.sleep(0.02)
    process = worker._children[-1]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    known = len(worker.applied(folder))
    job = followed(store, backend, job)
    assert (job.status, known < 24) == (JobStatus.failed, True)
    assert "may have been applied" in (job.error or "")
    with store.exclusive(job.id):
        job = submit.resume(store, backend, job)
    job = followed(store, backend, job)
    assert job.status == JobStatus.succeeded, job.error
    (adapter,) = emulator.adapters().values()
    assert adapter["calls"] in (24, 25)  # the one in flight may have been applied before the kill


def test_a_job_that_was_found_without_a_worker_gets_one(emulator: Emulator, tmp_path: Path) -> None:
    """The submitting process died between the create call and the start of the worker."""
    store, _, job = submitted(emulator, tmp_path, without_a_worker(emulator))
    assert followed(store, connected(emulator), job).status == JobStatus.succeeded


def test_a_base_model_that_is_not_there_names_those_that_are(emulator: Emulator, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="Choose one of nano"):
        submitted(emulator, tmp_path, base_model="llama")


@pytest.mark.parametrize("trials", [15, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_each_lost_answer_leaves_one_adapter(
    trials: int, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "RETRY_SECONDS", 0.001)
    draw = random.Random(1)
    for number in range(trials):
        fault = draw.choice(("unavailable_after", "dropped_after", "unavailable_before", "rate_limited"))
        emulator.faults.inject(fault)
        _, _, job = submitted(emulator, tmp_path, without_a_worker(emulator))
        assert job.backend_id, f"trial {number}: {fault}"
    assert len(emulator.adapters()) == trials
