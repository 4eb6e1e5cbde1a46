"""OpenAI's dialect against its emulator, with the unchanged SDK."""

import random
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tunebridge import submit, watch
from tunebridge.backend import GenerationParameters
from tunebridge.data.example import Message
from tunebridge.errors import InvalidRequest, NotFound, TrainingUnavailable, UnsupportedFeature
from tunebridge.job import Job, JobStatus
from tunebridge.plan import Plan
from tunebridge.spec import JobSpec
from tunebridge.store import Store
from tunebridge.testing.case import BackendCase, small_dataset
from tunebridge.testing.suite import BackendConformance

pytest.importorskip("openai")
pytestmark = pytest.mark.torch

from tunebridge_openai import client  # noqa: E402
from tunebridge_openai.backend import OpenAIBackend  # noqa: E402
from tunebridge_openai.conformance import connected  # noqa: E402
from tunebridge_openai.emulator import Emulator  # noqa: E402


class TestOpenAI(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> BackendCase:
        from tunebridge_openai.conformance import case

        return case()


class TestAzureOpenAI(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> BackendCase:
        from tunebridge_openai.conformance import AZURE, case

        return case(AZURE)


JOB = {"backend": "openai", "base_model": "small", "data": {"train": "rows.jsonl"}}
EIGHT_STEPS = {"hyperparameters": {"epochs": 2, "batch_size": 4, "seed": 1}}


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    running = Emulator(tmp_path / "account").start()
    yield running
    running.wire.stop()


def backend_at(emulator: Emulator, today: date = date(2026, 11, 25)) -> OpenAIBackend:
    found = connected(emulator)
    found._today = lambda: today
    return found


def plan(emulator: Emulator | None = None, kind: str = "sft", today: date = date(2026, 11, 25), **fields: Any) -> Plan:
    spec = JobSpec.model_validate({**JOB, **fields})
    return OpenAIBackend(today=lambda: today).plan(spec, small_dataset(kind=kind))


def refused(made: Plan) -> dict[str, str]:
    return {line.field: line.reason for line in made.refused}


def submitted(emulator: Emulator, folder: Path, kind: str = "sft", **fields: Any) -> tuple[Store, OpenAIBackend, Job]:
    store, backend = Store(folder / "store"), backend_at(emulator)
    data = small_dataset(kind=kind)
    made = backend.plan(JobSpec.model_validate({**JOB, **EIGHT_STEPS, **fields}), data)
    return store, backend, submit.submit(store, backend, made, data, again=True)


def finished(emulator: Emulator, folder: Path, **fields: Any) -> tuple[Store, OpenAIBackend, Job]:
    store, backend, job = submitted(emulator, folder, **fields)
    for _ in watch.watch(store, backend, job.id, timeout_seconds=120):
        pass
    return store, backend, store.get(job.id)


def test_a_plan_is_a_request_of_the_dialect() -> None:
    made = plan(hyperparameters={"epochs": 3, "seed": 7}, options={"openai": {"suffix": "mine"}})
    assert made.payload["request"] == {
        "model": "small",
        "method": {
            "type": "supervised",
            "supervised": {
                "hyperparameters": {"n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": "auto"}
            },
        },
        "suffix": "mine",
        "seed": 7,
    }
    assert made.connection == {"service": "openai"}
    assert not made.refused


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"hyperparameters": {"learning_rate": 1e-4}}, "hyperparameters.learning_rate", "learning_rate_multiplier"),
        ({"hyperparameters": {"epochs": 2.5}}, "hyperparameters.epochs", "whole passes"),
        ({"hyperparameters": {"epochs": 51}}, "hyperparameters.epochs", "from 1 to 50"),
        ({"hyperparameters": {"batch_size": 257}}, "hyperparameters.batch_size", "from 1 to 256"),
        ({"hyperparameters": {"max_length": 128}}, "hyperparameters.max_length", "nothing like it"),
        ({"method": {"adapter": {"rank": 8}}}, "method.adapter.rank", "nothing like it"),
        ({"method": "dpo"}, "data.train", "'sft' is not offered here; possible: preference"),
        ({"method": {"beta": 0.1}}, "method.beta", "belongs to the method dpo"),
        ({"options": {"openai": {"grader": {"type": "x"}}}}, "options.openai.grader", "reinforcement"),
        (
            {"options": {"openai": {"service": "azure", "base_url": "https://x/openai/v1", "suffix": "a.b"}}},
            "options.openai.suffix",
            "no such characters",
        ),
    ],
)
def test_what_the_service_does_not_take_is_refused(fields: dict[str, Any], field: str, says: str) -> None:
    assert says in refused(plan(**fields))[field]


def test_a_closing_service_is_said_and_a_closed_one_refused() -> None:
    model = "gpt-4.1-mini-2025-04-14"
    (warning,) = plan(base_model=model).warnings
    assert "takes new jobs until 2027-01-06 (42 days); the tuned model stops answering on 2027-01-14" in warning
    assert "base_model" in refused(plan(base_model=model, today=date(2027, 1, 7)))
    assert "base_model" in refused(plan(base_model="gpt-4.1-nano-2025-04-14"))
    azure = {"openai": {"service": "azure", "base_url": "https://x.openai.azure.com/openai/v1/"}}
    assert not refused(plan(base_model=model, options=azure, today=date(2027, 1, 7)))


def test_a_life_from_rows_to_an_answer(emulator: Emulator, tmp_path: Path) -> None:
    store, backend, job = finished(emulator, tmp_path)
    assert job.status == JobStatus.succeeded, job.error
    assert job.usage.trained_tokens
    messages = [event.message for _, event in store.events(job.id)]
    assert any("Files validated" in message for message in messages)
    assert {metric.name for metric in store.metrics(job.id)} == {"train_loss"}
    (model, *_) = backend.artifacts(job)
    assert model.uri.startswith("ft:small:")
    asked = [(Message(role="user", content=f"What is the colour of ball {n}?"),) for n in range(5)]
    answers = list(backend.generate(job, asked, GenerationParameters(max_tokens=4)))
    assert len(answers) == 5
    assert all(answer.tokens is not None for answer in answers)
    backend.delete(job)
    with pytest.raises(NotFound):
        list(backend.generate(job, asked, GenerationParameters()))


def test_the_same_rows_are_uploaded_once(emulator: Emulator, tmp_path: Path) -> None:
    submitted(emulator, tmp_path)
    submitted(emulator, tmp_path)
    with emulator._shelf.opened() as state:
        assert len(state["files"]) == 1
        assert len(state["jobs"]) == 2


def test_a_large_file_goes_in_parts(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MULTIPART_MAX_BYTES", 100)
    submitted(emulator, tmp_path)
    with emulator._shelf.opened() as state:
        assert [upload["bytes"] for upload in state["uploads"].values()] == [
            f["bytes"] for f in state["files"].values()
        ]


@pytest.mark.parametrize(
    "options", [{"base_url": "https://x/openai/v1"}, {"base_url": "https://x", "api_version": "2025-04-01-preview"}]
)
def test_azure_in_both_styles(options: dict[str, str], emulator: Emulator, tmp_path: Path) -> None:
    azure = {"openai": {"service": "azure", "training_type": "Developer", "byte_order_mark": True, **options}}
    _, backend, job = submitted(emulator, tmp_path, options=azure)
    assert backend.find(job) == job.backend_id
    (content,) = (tmp_path / "account").glob("file-*.content")
    assert content.read_bytes().startswith(b"\xef\xbb\xbf")


def test_rows_that_the_service_refuses_fail_the_job_with_the_line(emulator: Emulator, tmp_path: Path) -> None:
    _, backend, job = submitted(emulator, tmp_path)
    with emulator._shelf.opened() as state:
        (file,) = state["files"]
    path = tmp_path / "account" / f"{file}.content"
    path.write_bytes(path.read_bytes() + b'{"messages": [{"role": "user", "content": "?"}]}\n')
    seen = backend.poll(job, None)
    assert seen.status == JobStatus.failed
    assert seen.error is not None
    assert "Example 13 (line 13): last message must be from the assistant" in seen.error


def test_a_closed_account_is_said_with_what_to_do(emulator: Emulator, tmp_path: Path) -> None:
    emulator.faults.inject("training_closed")
    with pytest.raises(TrainingUnavailable, match="Change `backend` in the job file"):
        submitted(emulator, tmp_path)
    assert emulator.jobs() == {}


def test_a_missing_key_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    check = OpenAIBackend().check()
    assert not check.ok
    assert "Set the environment variable OPENAI_API_KEY" in check.detail


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


RESOURCE = {"subscription": "s", "resource_group": "g", "account": "a"}


def azure_job(**fields: Any) -> Job:
    connection = {"service": "azure", "base_url": "https://x/openai/v1", **RESOURCE, **fields}
    known = {"id": "tb-1", "backend": "openai", "base_model": "gpt-4.1-mini-2025-04-14", "plan_digest": ""}
    at = "2026-11-25T00:00:00Z"
    times = {"created_at": at, "updated_at": at, "data_fingerprint": "", "folder": "nowhere"}
    return Job.model_validate({**known, **times, "connection": connection})


def test_a_deployment_is_priced_from_a_dated_row() -> None:
    quoted = OpenAIBackend().quote(azure_job())
    assert (quoted.name, quoted.usd_per_hour) == ("tb-1", Decimal("1.70"))
    assert "2026-08-11" in quoted.price_note
    developer = OpenAIBackend().quote(azure_job(sku="Developer"))
    assert (developer.usd_per_hour, "24 hours" in developer.price_note) == (Decimal(0), True)
    unknown = OpenAIBackend().quote(azure_job().model_copy(update={"base_model": "Qwen-32B"}))
    assert (unknown.usd_per_hour, "no price" in unknown.price_note) == (None, True)
    with pytest.raises(InvalidRequest, match=r"options\.openai\.account"):
        OpenAIBackend().quote(azure_job(account=None))
    with pytest.raises(UnsupportedFeature, match="without an endpoint"):
        OpenAIBackend().quote(azure_job(service="openai"))


def test_at_azure_only_the_deployment_answers(emulator: Emulator, tmp_path: Path) -> None:
    azure = {"openai": {"service": "azure", "base_url": "https://x/openai/v1", **RESOURCE}}
    _, backend, job = finished(emulator, tmp_path, options=azure)
    asked = [(Message(role="user", content="What is the colour of ball 1?"),)]
    with pytest.raises(InvalidRequest, match="tunebridge deploy"):
        list(backend.generate(job, asked, GenerationParameters()))
    tuned = backend.artifacts(job)[0].uri
    with backend._connect(job.connection) as remote, pytest.raises(NotFound, match="deployment does not exist"):
        remote.answer(tuned, [{"role": "user", "content": "?"}])
    made = backend.deploy(job)
    assert (made.is_ready, made.backend_status) == (False, "Creating")
    job = job.model_copy(update={"deployment": made})
    assert backend.deployment(job).backend_status == "Creating"  # type: ignore[union-attr]
    assert backend.deployment(job).is_ready  # type: ignore[union-attr]
    assert list(backend.generate(job, asked, GenerationParameters(max_tokens=4)))
    backend.undeploy(job)
    assert backend.deployment(job) is None


def test_a_refused_deployment_says_why(emulator: Emulator, tmp_path: Path) -> None:
    azure = backend_at(emulator)._deployments(azure_job().connection)
    with pytest.raises(InvalidRequest, match="is not available in this account"):
        azure.create("mine", "ft:no-such-model", "OpenAI")
