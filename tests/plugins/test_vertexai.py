"""Vertex AI against its emulator, with the unchanged SDKs."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tunebridge import submit, watch
from tunebridge.backend import GenerationParameters
from tunebridge.data.example import Message
from tunebridge.errors import InvalidRequest
from tunebridge.job import Job, JobStatus
from tunebridge.plan import Plan
from tunebridge.spec import JobSpec
from tunebridge.store import Store
from tunebridge.testing.case import BackendCase, small_dataset
from tunebridge.testing.suite import BackendConformance
from tunebridge.training.config import NANO

pytest.importorskip("google.genai")
pytestmark = pytest.mark.torch

from tunebridge_vertexai import client  # noqa: E402
from tunebridge_vertexai.backend import VertexAIBackend  # noqa: E402
from tunebridge_vertexai.conformance import connected  # noqa: E402
from tunebridge_vertexai.emulator import Emulator  # noqa: E402
from tunebridge_vertexai.tuning import folder_of  # noqa: E402


class TestGemini(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> BackendCase:
        from tunebridge_vertexai.conformance import case

        return case("gemini")


class TestOpenModels(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> BackendCase:
        from tunebridge_vertexai.conformance import case

        return case("open_models")


class TestCustomJob(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> BackendCase:
        from tunebridge_vertexai.conformance import case

        return case("custom_job")


OPEN_MODEL = "meta/llama3_1@llama-3.1-8b-instruct"
OPTIONS = {"project": "mine", "bucket": "my-bucket"}
JOB = {"backend": "vertexai", "base_model": "gemini-2.5-flash", "data": {"train": "rows.jsonl"}}


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    running = Emulator(tmp_path / "project").start()
    yield running
    running.wire.stop()


def spec(options: Mapping[str, Any] | None = None, **fields: Any) -> JobSpec:
    return JobSpec.model_validate({**JOB, "options": {"vertexai": {**OPTIONS, **(options or {})}}, **fields})


def plan(kind: str = "sft", options: Mapping[str, Any] | None = None, **fields: Any) -> Plan:
    return VertexAIBackend().plan(spec(options, **fields), small_dataset(kind=kind))


def refused(made: Plan) -> dict[str, str]:
    return {line.field: line.reason for line in made.refused}


def submitted(
    emulator: Emulator, folder: Path, options: Mapping[str, Any] | None = None, **fields: Any
) -> tuple[Store, VertexAIBackend, Job]:
    store, backend, data = Store(folder / "store"), connected(emulator), small_dataset()
    known = {"hyperparameters": {"epochs": 2}, **fields}
    made = backend.plan(spec(options, **known), data)
    return store, backend, submit.submit(store, backend, made, data, again=True)


def finished(emulator: Emulator, folder: Path, **fields: Any) -> tuple[Store, VertexAIBackend, Job]:
    store, backend, job = submitted(emulator, folder, **fields)
    while not job.status.is_terminal:
        job = watch.poll_once(store, backend, job.id)
        time.sleep(0.05)
    return store, backend, job


def test_a_plan_for_gemini_is_what_tune_takes() -> None:
    made = plan(
        method={"adapter": {"rank": 4}},
        hyperparameters={"epochs": 3, "learning_rate_multiplier": 0.5},
        options={"labels": {"team": "a"}},
    )
    assert not made.refused
    assert made.connection == {
        "project": "mine",
        "bucket": "my-bucket",
        "location": "us-central1",
        "prefix": "tunebridge",
    }
    assert made.payload["request"] == {
        "base_model": "gemini-2.5-flash",
        "config": {
            "method": "SUPERVISED_FINE_TUNING",
            "labels": {"team": "a"},
            "epoch_count": 3,
            "adapter_size": "ADAPTER_SIZE_FOUR",
            "learning_rate_multiplier": 0.5,
        },
    }


def test_an_open_model_takes_an_absolute_rate_and_says_what_can_be_trained_of_it() -> None:
    made = plan(base_model=OPEN_MODEL, hyperparameters={"learning_rate": 2e-4, "batch_size": 8})
    config = made.payload["request"]["config"]
    assert (config["learning_rate"], config["batch_size"]) == (2e-4, 8)
    assert config["tuning_mode"] == "TUNING_MODE_PEFT_ADAPTER"
    full_only = plan(base_model="qwen/qwen3@qwen3-8b")
    assert full_only.payload["request"]["config"]["tuning_mode"] == "TUNING_MODE_FULL"
    assert "method.adapter.type" in refused(plan(base_model="qwen/qwen3@qwen3-8b", method={"adapter": "lora"}))


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"hyperparameters": {"learning_rate": 1e-4}}, "hyperparameters.learning_rate", "learning_rate_multiplier"),
        ({"hyperparameters": {"epochs": 2.5}}, "hyperparameters.epochs", "whole passes"),
        ({"hyperparameters": {"batch_size": 4}}, "hyperparameters.batch_size", "reinforcement"),
        ({"hyperparameters": {"seed": 4}}, "hyperparameters.seed", "nothing like it"),
        ({"method": {"adapter": {"rank": 3}}}, "method.adapter.rank", "1, 2, 4, 8, 16"),
        ({"method": {"adapter": "full"}}, "method.adapter.type", "possible: lora"),
        ({"options": {"location": "global"}}, "options.vertexai.location", "not tuned in `global`"),
        ({"method": "reinforcement"}, "options.vertexai.reinforcement", "reward_config"),
        ({"method": "distillation"}, "options.vertexai.distillation", "teacher"),
        ({"base_model": "meta/llama3_1"}, "base_model", "behind @"),
        (
            {"base_model": OPEN_MODEL, "options": {"location": "global", "kms_key_name": "projects/p/k"}},
            "options.vertexai.kms_key_name",
            "refuses keys in `global`",
        ),
        (
            {"base_model": OPEN_MODEL, "hyperparameters": {"learning_rate_multiplier": 2}},
            "hyperparameters.learning_rate_multiplier",
            "take hyperparameters.learning_rate",
        ),
        ({"base_model": OPEN_MODEL, "method": "dpo"}, "method.type", "possible: sft"),
    ],
)
def test_what_the_service_does_not_take_is_refused(fields: dict[str, Any], field: str, says: str) -> None:
    assert says in refused(plan(**fields))[field]


def test_an_open_model_takes_a_quarter_of_the_bytes_as_held_out_rows() -> None:
    rows = small_dataset(rows=6, validation=True)
    made = VertexAIBackend().plan(spec(base_model=OPEN_MODEL), rows)
    assert "at most 25%" in refused(made)["data.validation"]
    assert not VertexAIBackend().plan(spec(base_model=OPEN_MODEL), small_dataset(validation=True)).refused


@pytest.mark.parametrize(
    ("method", "kind", "options"),
    [
        ("dpo", "preference", {}),
        ("reinforcement", "prompt_only", {"reinforcement": {"reward_config": {"rewardName": "r"}}}),
        ("distillation", "prompt_only", {"distillation": {"base_teacher_model": "gemini-2.5-pro"}}),
    ],
)
def test_each_method_is_a_request_that_the_published_schema_takes(
    method: str, kind: str, options: dict[str, Any], emulator: Emulator, tmp_path: Path
) -> None:
    """Preference rows are uploaded and the job is taken; what the emulator cannot train is refused as such."""
    backend, data = connected(emulator), small_dataset(kind=kind)
    made = backend.plan(spec(options, method=method), data)
    if method == "dpo":
        submit.submit(Store(tmp_path / "store"), backend, made, data)
        (job,) = emulator.jobs().values()
        assert job["preferenceOptimizationSpec"]["trainingDatasetUri"].endswith("/train.jsonl")
        return
    with pytest.raises(InvalidRequest, match="this emulator trains supervised and preference tuning only"):
        submit.submit(Store(tmp_path / "store"), backend, made, data)


def test_going_on_from_a_checkpoint_of_a_tuned_model(emulator: Emulator, tmp_path: Path) -> None:
    model = "projects/mine/locations/us-central1/models/7@1"
    submitted(emulator, tmp_path, {"pre_tuned_model_checkpoint_id": "2"}, base_model=model)
    (job,) = emulator.jobs().values()
    assert job["preTunedModel"] == {"checkpointId": "2", "tunedModelName": model}


def test_a_life_from_rows_to_an_answer(emulator: Emulator, tmp_path: Path) -> None:
    store, backend, job = finished(emulator, tmp_path)
    assert job.status == JobStatus.succeeded, job.error
    assert job.usage.trained_tokens
    told = [event.id for _, event in store.events(job.id)]
    assert [name for name in told if name in ("created", "started", "epoch-2", "ended")] == [
        "created",
        "started",
        "epoch-2",
        "ended",
    ]
    (model, *_) = backend.artifacts(job)
    assert "/endpoints/" in model.uri
    asked = [(Message(role="user", content=f"What is the colour of ball {n}?"),) for n in range(3)]
    answers = list(backend.generate(job, asked, GenerationParameters(max_tokens=4)))
    assert len(answers) == 3
    assert all(answer.tokens is not None for answer in answers)


def test_a_job_sent_to_global_is_found_where_it_runs_and_its_weights_are_downloaded(
    emulator: Emulator, tmp_path: Path
) -> None:
    _, backend, job = finished(emulator, tmp_path, base_model=OPEN_MODEL, options={"location": "global"})
    assert job.status == JobStatus.succeeded, job.error
    assert client.location_of(job.backend_id or "") == "us-central1"
    assert backend.find(job) == job.backend_id
    (weights,) = backend.artifacts(job)
    assert (weights.kind, weights.uri.startswith("gs://my-bucket/")) == ("adapter", True)
    path = backend.download(job, weights, tmp_path / "weights")
    assert (path / "adapter_model.safetensors").stat().st_size


def test_a_custom_job_is_a_request_for_a_machine() -> None:
    options = {"mode": "custom_job", "machine_type": "a2-highgpu-1g", "accelerator_type": "NVIDIA_TESLA_A100"}
    made = plan(base_model="Qwen/Qwen3-0.6B", options={**options, "spot": True}, budget={"max_hours": 2})
    assert not made.refused
    assert made.payload["request"] == {
        "machine_type": "a2-highgpu-1g",
        "accelerator_type": "NVIDIA_TESLA_A100",
        "image_uri": "docker.io/library/python:3.12",
        "spot": True,
        "timeout_hours": 24.0,
        "timeout_seconds": 9_000,
    }
    assert made.payload["run"]["max_hours"] == 2
    elsewhere = plan(options={**options, "description": "x", "location": "global"}, base_model=NANO)
    assert refused(elsewhere).keys() == {"options.vertexai.description", "options.vertexai.location"}
    assert "options.vertexai.spot" in refused(plan(options={"spot": True}))


def test_an_interrupted_machine_is_taken_over_from_its_last_checkpoint(emulator: Emulator, tmp_path: Path) -> None:
    """Spot capacity is taken away with SIGTERM; the next machine has only what lies in the bucket."""
    long = {"hyperparameters": {"epochs": 200, "batch_size": 4}}
    _, _, job = submitted(emulator, tmp_path, {"mode": "custom_job", "spot": True}, base_model=NANO, **long)
    (made,) = emulator.jobs().values()
    assert made["jobSpec"]["scheduling"]["strategy"] == 4  # SPOT, as a number on the wire
    folder = tmp_path / "project" / "objects" / folder_of(job).removeprefix("gs://")
    command = [sys.executable, str(folder / "machine.py"), str(folder)]
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout
        assert any('"progress-' in line for line in first.stdout)
        first.send_signal(signal.SIGTERM)
        first.stdout.read()
    assert first.returncode == 1
    assert len(list((folder / "work" / "checkpoints").glob("step-*.tar"))) == 1
    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "the trainer goes on" in second.stdout
    assert (folder / "results" / "adapter" / "adapter_model.safetensors").exists()


def test_partial_success_ends_a_job_with_its_results(emulator: Emulator, tmp_path: Path) -> None:
    """The SDK's own `has_ended` never does."""
    emulator.faults.inject("partial", times=100)
    _, backend, job = finished(emulator, tmp_path)
    assert (job.status, job.backend_status) == (JobStatus.succeeded, "JOB_STATE_PARTIALLY_SUCCEEDED")
    assert backend.artifacts(job)


def test_rows_that_the_service_refuses_fail_the_job_with_the_row(emulator: Emulator, tmp_path: Path) -> None:
    store, backend, job = submitted(emulator, tmp_path)
    uri = f"{folder_of(job)}/train.jsonl"
    emulator.storage.write(uri, (emulator.storage.read(uri) or b"") + b'{"contents": [{"role": "robot"}]}\n')
    while not job.status.is_terminal:
        job = watch.poll_once(store, backend, job.id)
    assert "Row 13: a role is neither user nor model" in (job.error or "")


def test_large_files_go_in_parts(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from google.cloud.storage import blob

    monkeypatch.setattr(blob, "_MAX_MULTIPART_SIZE", 100)
    monkeypatch.setattr(blob, "_DEFAULT_CHUNKSIZE", 256 * 1024)
    path = tmp_path / "large"
    path.write_bytes(b"\r\nrow\n" * 200_000)
    with connected(emulator)._connect({}) as remote:
        remote.upload(path, "gs://my-bucket/large")
    assert emulator.storage.read("gs://my-bucket/large") == path.read_bytes()


def test_the_true_path_of_default_credentials(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service account's key whose tokens come from the emulator, found as Google's own tools find it."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(emulator.key_file()))
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", emulator.wire.url)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "mine")
    backend = VertexAIBackend()
    assert backend.check().detail == "Vertex AI answers for project mine, region us-central1."
    emulator.faults.inject("expired_key", times=10)
    check = backend.check()
    assert not check.ok
    assert "gcloud auth application-default login" in check.detail


def test_without_credentials_it_is_said_how_to_sign_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    check = VertexAIBackend().check()
    assert not check.ok
    assert "gcloud auth application-default login" in check.detail


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
