"""Hugging Face Jobs against its emulator, with the unchanged SDK."""

import random
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tunebridge import submit, watch
from tunebridge.backend import GenerationParameters
from tunebridge.data.example import Message
from tunebridge.errors import BudgetExceeded, InvalidRequest, StoreError
from tunebridge.job import Job, JobStatus
from tunebridge.plan import Plan
from tunebridge.spec import JobSpec
from tunebridge.store import Store
from tunebridge.testing.case import BackendCase, small_dataset
from tunebridge.testing.suite import BackendConformance
from tunebridge.training.config import NANO

pytest.importorskip("huggingface_hub")
pytestmark = pytest.mark.torch

from tunebridge_huggingface import follow  # noqa: E402
from tunebridge_huggingface.backend import HuggingFaceBackend  # noqa: E402
from tunebridge_huggingface.conformance import connected  # noqa: E402
from tunebridge_huggingface.emulator import FLAVORS, Emulator  # noqa: E402

JOB = {"backend": "huggingface", "base_model": NANO, "data": {"train": "rows.jsonl"}}


@pytest.fixture(autouse=True, scope="module")
def _online() -> Iterator[None]:
    """Let the SDK ask the emulator: the tests' environment tells it to stay offline."""
    from huggingface_hub import constants

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield


class TestHuggingFace(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> BackendCase:
        from tunebridge_huggingface.conformance import case

        return case()


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    running = Emulator(tmp_path / "account").start()
    yield running
    running.wire.stop()


def plan(**fields: Any) -> Plan:
    return HuggingFaceBackend().plan(JobSpec.model_validate({**JOB, **fields}), small_dataset())


def refused(made: Plan) -> dict[str, str]:
    return {line.field: line.reason for line in made.refused}


def submitted(emulator: Emulator, folder: Path, **fields: Any) -> tuple[Store, HuggingFaceBackend, Job]:
    store, backend, data = Store(folder / "store"), connected(emulator), small_dataset()
    known = {"hyperparameters": {"epochs": 2, "batch_size": 4}, **fields}
    made = backend.plan(JobSpec.model_validate({**JOB, **known}), data)
    return store, backend, submit.submit(store, backend, made, data, again=True)


def finished(emulator: Emulator, folder: Path, **fields: Any) -> tuple[Store, HuggingFaceBackend, Job]:
    store, backend, job = submitted(emulator, folder, **fields)
    while not job.status.is_terminal:
        job = watch.poll_once(store, backend, job.id)
        time.sleep(0.1)
    return store, backend, job


def test_a_plan_names_machine_image_and_an_end() -> None:
    made = plan(base_model="Qwen/Qwen3-4B")
    assert not made.refused
    assert made.payload["request"] == {
        "image": "python:3.12",
        "flavor": "t4-small",
        "timeout_hours": 24.0,
        "timeout_seconds": 86_400,
    }
    assert made.payload["run"]["base_model"] == "Qwen/Qwen3-4B"


@pytest.mark.parametrize(
    ("model", "method", "flavor"),
    [
        (NANO, "lora", "cpu-basic"),
        ("Qwen/Qwen3-8B", "lora", "l4x1"),
        ("Qwen/Qwen3-0.6B", "full", "t4-small"),
        ("org/model-32b", "lora", "rtx-pro-6000"),
    ],
)
def test_the_cheapest_machine_that_fits_is_taken(model: str, method: str, flavor: str) -> None:
    made = plan(base_model=model, method={"adapter": method})
    assert made.payload["request"]["flavor"] == flavor


def test_a_machine_must_be_named_where_none_is_known_to_fit() -> None:
    for model in ("org/model", "org/model-70b"):
        assert "name a flavor" in refused(plan(base_model=model))["options.huggingface.flavor"]
    assert not plan(base_model="org/model", options={"huggingface": {"flavor": "h200"}}).refused


def test_a_budget_ends_the_job_in_time() -> None:
    """At 0.01 USD an hour five cents pay for five hours, and the trainer stops before the service would."""
    made = plan(budget={"max_usd": "0.05"})
    assert made.payload["request"]["timeout_seconds"] == 5 * 3600
    assert made.payload["run"]["max_hours"] == 4.5
    assert plan(budget={"max_hours": 2}).payload["request"]["timeout_seconds"] == 9_000
    unknown = plan(budget={"max_usd": 5}, options={"huggingface": {"flavor": "h999"}})
    assert "no price" in refused(unknown)["budget.max_usd"]


def test_live_prices_decide_before_anything_is_uploaded(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidRequest, match="Name one of cpu-basic"):
        submitted(emulator, tmp_path, options={"huggingface": {"flavor": "h200"}})
    monkeypatch.setitem(FLAVORS, "cpu-basic", 10_000)
    with pytest.raises(BudgetExceeded, match=r"costs 0\.6 USD an hour now"):
        submitted(emulator, tmp_path, budget={"max_usd": "0.05"})
    assert emulator.jobs() == {}
    assert not list((tmp_path / "account").glob("repositories/datasets/*"))


def test_a_life_from_rows_to_an_answer(emulator: Emulator, tmp_path: Path) -> None:
    store, backend, job = finished(emulator, tmp_path)
    assert job.status == JobStatus.succeeded, job.error
    assert {metric.name for metric in store.metrics(job.id)} >= {"train_loss"}
    events = {event.id: event for _, event in store.events(job.id)}
    assert "about 0.0" in events["billed"].message
    assert "USD at 0.01002 USD an hour" in events["billed"].message
    (adapter,) = backend.artifacts(job)
    assert (adapter.kind, adapter.uri.startswith(f"hf://emulator/{job.id}@")) == ("adapter", True)
    assert (backend.download(job, adapter, tmp_path / "result") / "adapter_model.safetensors").exists()
    asked = [(Message(role="user", content="What is the colour of ball 1?"),)]
    assert [answer.tokens is not None for answer in backend.generate(job, asked, GenerationParameters(max_tokens=4))]
    (pushed,) = (tmp_path / "account" / "repositories" / "models").iterdir()
    weights = pushed / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match="differs from what was trained"):
        backend.download(job, adapter, tmp_path / "tampered")
    nowhere_written(emulator.token, tmp_path, but=("service.json",))
    backend.delete(job)
    assert backend.artifacts(job) == []


def nowhere_written(secret: str, folder: Path, *, but: tuple[str, ...]) -> None:
    """Assert that a secret stands in no file but those that are the account itself."""
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in but:
            assert secret.encode() not in path.read_bytes(), path


def test_a_trainer_that_fails_says_why(emulator: Emulator, tmp_path: Path) -> None:
    _, _, job = finished(emulator, tmp_path, hyperparameters={"max_length": 8})
    assert job.status == JobStatus.failed
    assert "max_length" in (job.error or "")


def test_the_service_ends_a_job_at_its_timeout(emulator: Emulator, tmp_path: Path) -> None:
    _, _, job = finished(emulator, tmp_path, options={"huggingface": {"timeout_hours": 0.0003}})
    assert job.status == JobStatus.failed
    assert "Job timeout" in (job.error or "")


def test_a_log_that_lost_its_beginning_repeats_nothing() -> None:
    lines = [
        f'TUNEBRIDGE {{"type": "event", "id": "e{n}", "at": "2026-01-01T00:00:00Z", "message": "m"}}' for n in "123"
    ]
    found = {"stage": "RUNNING", "message": None, "flavor": "cpu-basic", "finished_at": None, "durations": {}}
    first = follow.snapshot(found, ["hello", *lines[:2]], None, None)
    assert [event.id for event in first.events] == ["e1", "e2"]
    assert [event.id for event in follow.snapshot(found, lines, first.cursor, None).events] == ["e3"]
    assert [event.id for event in follow.snapshot(found, lines[1:], first.cursor, None).events] == ["e3"]
    ended = {**found, "stage": "COMPLETED", "finished_at": "2026-01-01T00:01:00Z", "durations": {"running_secs": 36}}
    last = follow.snapshot(ended, lines, first.cursor, Decimal("1.00"))
    assert [(event.id, event.data.get("usd")) for event in last.events] == [("e3", None), ("billed", "0.0100")]
    assert follow.snapshot(ended, lines, last.cursor, Decimal("1.00")).events == ()


def test_without_a_token_it_is_said_how_to_sign_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "nowhere"))
    check = HuggingFaceBackend().check()
    assert not check.ok
    assert "hf auth login" in check.detail


@pytest.mark.parametrize("trials", [15, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_each_lost_answer_leaves_one_job(
    trials: int, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "RETRY_SECONDS", 0.001)
    draw = random.Random(1)
    for number in range(trials):
        fault = draw.choice(("unavailable_after", "dropped_after", "unavailable_before", "rate_limited"))
        emulator.faults.inject(fault)
        _, _, job = submitted(emulator, tmp_path)
        assert job.backend_id, f"trial {number}: {fault}"
    assert len(emulator.jobs()) == trials
