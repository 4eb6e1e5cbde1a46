"""Bedrock against its emulator, with the unchanged boto3."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tunebridge import submit, watch
from tunebridge.backend import GenerationParameters
from tunebridge.data.example import Message
from tunebridge.errors import InvalidRequest, NotFound
from tunebridge.job import Job, JobStatus
from tunebridge.plan import Plan
from tunebridge.spec import JobSpec
from tunebridge.store import Store
from tunebridge.testing.case import BackendCase, small_dataset
from tunebridge.testing.suite import BackendConformance

pytest.importorskip("boto3")
pytestmark = pytest.mark.torch

from tunebridge_bedrock import status  # noqa: E402
from tunebridge_bedrock.backend import BedrockBackend, conversation  # noqa: E402
from tunebridge_bedrock.conformance import JOB, STAND_INS, connected  # noqa: E402
from tunebridge_bedrock.emulator import BUCKET, Emulator  # noqa: E402
from tunebridge_bedrock.info import CAPABILITIES  # noqa: E402
from tunebridge_bedrock.translate import translate  # noqa: E402

LLAMA = "meta.llama3-1-8b-instruct-v1:0:128k"


class TestBedrock(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> BackendCase:
        from tunebridge_bedrock.conformance import case

        return case()


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    running = Emulator(tmp_path / "account").start()
    yield running
    running.account.wire.stop()


def plan(options: dict[str, Any] | None = None, **fields: Any) -> Plan:
    spec = JobSpec.model_validate({**JOB, **fields, "options": {"bedrock": {**STAND_INS, **(options or {})}}})
    return translate(spec, small_dataset(), CAPABILITIES)


def submitted(emulator: Emulator, folder: Path, **fields: Any) -> tuple[Store, BedrockBackend, Job]:
    store, backend, data = Store(folder / "store"), connected(emulator), small_dataset(validation=True)
    made = backend.plan(JobSpec.model_validate({**JOB, **fields}), data)
    return store, backend, submit.submit(store, backend, made, data, again=True)


def finished(emulator: Emulator, folder: Path, **fields: Any) -> tuple[Store, BedrockBackend, Job]:
    store, backend, job = submitted(emulator, folder, **fields)
    for _ in watch.watch(store, backend, job.id, timeout_seconds=200):
        pass
    return store, backend, store.get(job.id)


def test_a_plan_is_a_request() -> None:
    own = {"learningRateWarmupSteps": "10"}
    made = plan(
        hyperparameters={"epochs": 3, "learning_rate": 1e-5}, options={"hyperparameters": own, "model_name": "m"}
    )
    assert not made.refused
    assert made.payload["request"] == {
        "baseModelIdentifier": "amazon.nova-lite-v1:0",
        "customizationType": "FINE_TUNING",
        "roleArn": STAND_INS["role_arn"],
        "customModelName": "m",
    }
    assert made.payload["hyperparameters"] == {"epochCount": 3, "learningRate": 1e-5}
    assert (made.payload["own_hyperparameters"], made.payload["rows"]) == (own, {"shape": "converse"})


@pytest.mark.parametrize(
    ("fields", "options", "field", "says"),
    [
        ({"hyperparameters": {"epochs": 6}}, {}, "hyperparameters.epochs", "epochCount from 1 to 5"),
        ({"hyperparameters": {"epochs": 1.5}}, {}, "hyperparameters.epochs", "whole passes"),
        ({"hyperparameters": {"learning_rate": 0.01}}, {}, "hyperparameters.learning_rate", "from 1e-06 to 0.0001"),
        ({"hyperparameters": {"batch_size": 4}}, {}, "hyperparameters.batch_size", "has no batchSize"),
        (
            {"hyperparameters": {"batch_size": 4}, "base_model": LLAMA},
            {},
            "hyperparameters.batch_size",
            "from 1 to 1",
        ),
        ({"hyperparameters": {"warmup_ratio": 0.1}}, {}, "hyperparameters.warmup_ratio", "counted in steps"),
        ({"method": "dpo"}, {}, "method.type", "not offered here"),
        (
            {"hyperparameters": {"epochs": 2}},
            {"hyperparameters": {"epochCount": "3"}},
            "options.bedrock.hyperparameters",
            "remove one of them",
        ),
    ],
)
def test_what_the_service_does_not_take_is_refused(
    fields: dict[str, Any], options: dict[str, Any], field: str, says: str
) -> None:
    assert says in {line.field: line.reason for line in plan(options=options, **fields).refused}[field]


@pytest.mark.slow
def test_a_life_from_rows_to_an_answer_at_a_deployment(emulator: Emulator, tmp_path: Path) -> None:
    store, backend, job = finished(emulator, tmp_path)
    assert job.status == JobStatus.succeeded, job.error
    names = [event.id for _, event in store.events(job.id)]
    phases = ["validation", "dataProcessing", "training"]
    assert [name for name in names if name.endswith("-over")] == [f"{phase}-over" for phase in phases]
    assert {metric.name for metric in store.metrics(job.id)} == {"train_loss", "validation_loss"}
    asked = [(Message(role="system", content="Answer."), Message(role="user", content="The ball?"))] * 3
    with pytest.raises(NotFound, match="tunebridge deploy"):
        list(backend.generate(job, asked, GenerationParameters()))
    quoted = backend.quote(job)
    assert (quoted.usd_per_hour, emulator.deployments()) == (0, [])
    job = job.model_copy(update={"deployment": quoted})
    while not (made := backend.deploy(job)).is_ready:
        pass
    assert emulator.deployments() == [job.id]
    answers = list(backend.generate(job, asked, GenerationParameters(max_tokens=4)))
    assert [answer.tokens is not None for answer in answers] == [True] * 3
    assert made.backend_status == "Active"
    backend.undeploy(job)
    backend.delete(job)
    assert emulator.deployments() == []
    assert backend.artifacts(job) == []
    assert list(emulator.account.buckets.keys(BUCKET)) == []


def test_rows_go_in_the_models_own_shape(emulator: Emulator, tmp_path: Path) -> None:
    _, backend, job = submitted(emulator, tmp_path, base_model=LLAMA, hyperparameters={"epochs": 1, "batch_size": 1})
    rows = [path.read_text() for path in (tmp_path / "account" / "s3").rglob("train.jsonl.object")]
    assert json.loads(rows[0].splitlines()[0]) == {"prompt": "What is the colour of ball 0?", "completion": "red"}
    with pytest.raises(InvalidRequest, match="provisioned throughput"):
        backend.quote(job)


def test_rows_that_the_service_refuses_fail_the_job_with_the_line(emulator: Emulator, tmp_path: Path) -> None:
    store, backend, job = submitted(emulator, tmp_path)
    (rows,) = (tmp_path / "account" / "s3").rglob("train.jsonl.object")
    rows.write_text(rows.read_text() + '{"schemaVersion": "bedrock-conversation-2024", "messages": []}\n')
    while not job.status.is_terminal:
        job = watch.poll_once(store, backend, job.id)
    assert job.status == JobStatus.failed
    assert "Line 13" in (job.error or "")


GRADER = {"graderConfig": {"lambdaGrader": {"lambdaArn": "arn:aws:lambda:us-east-1:123456789012:function:grade"}}}


TEACHER = {"teacherModelConfig": {"teacherModelIdentifier": "amazon.nova-pro-v1:0"}}


@pytest.mark.parametrize(
    ("method", "kind", "base_model", "options", "sent"),
    [
        (
            "reinforcement",
            "prompt_only",
            "amazon.nova-lite-v1:0",
            {"reinforcement": {**GRADER, "hyperParameters": {"trainingSamplePerPrompt": 4}}},
            {"rftConfig": {**GRADER, "hyperParameters": {"trainingSamplePerPrompt": 4, "epochCount": 3}}},
        ),
        ("distillation", "prompt_only", LLAMA, {"distillation": TEACHER}, {"distillationConfig": TEACHER}),
        ("continued_pretraining", "text", "amazon.titan-text-express-v1", {}, None),
    ],
)
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_other_methods_go_in_the_services_words(
    method: str,
    kind: str,
    base_model: str,
    options: dict[str, Any],
    sent: dict[str, Any] | None,
    whole: bool,
    emulator: Emulator,
    tmp_path: Path,
) -> None:
    store, backend, data = Store(tmp_path / "store"), connected(emulator), small_dataset(kind=kind)
    fields = {**JOB, "base_model": base_model, "method": method, "hyperparameters": {"epochs": 3}}
    if options:
        without = backend.plan(JobSpec.model_validate(fields), data)
        assert f"options.bedrock.{method}" in {line.field for line in without.refused}
    made = backend.plan(JobSpec.model_validate({**fields, "options": {"bedrock": {**STAND_INS, **options}}}), data)
    job = submit.submit(store, backend, made, data)
    (record,) = emulator.jobs().values()
    assert record["asked"].get("customizationConfig") == sent
    for _ in watch.watch(store, backend, job.id, timeout_seconds=200) if whole else ():
        pass
    ended = store.get(job.id)
    assert ended.status == (JobStatus.succeeded if whole else JobStatus.queued), ended.error
    assert len(backend.artifacts(ended)) == whole


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"customizationType": "DISTILLATION"}, "distillationConfig belongs to DISTILLATION"),
        ({"customizationConfig": {"rftConfig": GRADER}}, "rftConfig belongs to REINFORCEMENT"),
        ({"customizationConfig": {"rftConfig": {"hyperParameters": {"batchSize": 513}}}}, "less than or equal to 512"),
        ({"customizationType": "IMPORTED"}, "IMPORTED cannot be created"),
        ({"customizationType": "SOMETHING"}, "is not one of the enum values"),
        ({"jobName": "bad name"}, "does not satisfy the pattern"),
    ],
)
def test_what_the_service_refuses_the_emulator_refuses(
    changes: dict[str, Any], says: str, emulator: Emulator, tmp_path: Path
) -> None:
    submitted(emulator, tmp_path)
    (record,) = emulator.jobs().values()
    asked = {**record["asked"], "jobName": "another", "clientRequestToken": "another", **changes}
    with pytest.raises(InvalidRequest, match=says):
        connected(emulator)._connect({}).create(asked)
    assert len(emulator.jobs()) == 1


@pytest.mark.parametrize(
    ("fields", "options", "kind", "field"),
    [
        ({}, {"distillation": TEACHER}, "sft", "options.bedrock.distillation"),
        ({"method": "continued_pretraining"}, {}, "sft", "data.train"),
        ({"method": "sft"}, {}, "text", "data.train"),
    ],
)
def test_methods_rows_and_sections_belong_together(
    fields: dict[str, Any], options: dict[str, Any], kind: str, field: str
) -> None:
    spec = JobSpec.model_validate({**JOB, **fields, "options": {"bedrock": {**STAND_INS, **options}}})
    assert field in {line.field for line in translate(spec, small_dataset(kind=kind), CAPABILITIES).refused}


def test_the_same_token_is_the_same_job(emulator: Emulator, tmp_path: Path) -> None:
    store, backend, job = submitted(emulator, tmp_path)
    assert backend.submit(store.plan(job.id), job) == job.backend_id
    assert len(emulator.jobs()) == 1
    with emulator.account.shelf.opened() as state:
        next(iter(state["jobs"].values()))["asked"]["clientRequestToken"] = "somebody-else"
    assert backend.find(job) is None
    with pytest.raises(InvalidRequest, match="is another one"):
        backend.submit(store.plan(job.id), job)


AT = datetime(2026, 11, 25, tzinfo=UTC)


def described(word: str, **phases: str) -> dict[str, Any]:
    details = {
        f"{phase}Details": {"status": value, "creationTime": AT, "lastModifiedTime": AT + timedelta(seconds=1)}
        for phase, value in phases.items()
    }
    return {"status": word, "creationTime": AT, "statusDetails": details}


@pytest.mark.parametrize(
    ("found", "expected", "word"),
    [
        (described("InProgress"), "queued", "InProgress"),
        (described("InProgress", validation="InProgress"), "preparing", "InProgress/validation"),
        (described("InProgress", validation="Completed", training="InProgress"), "running", "InProgress/training"),
        (described("InProgress", validation="Completed", training="Completed"), "finalizing", "InProgress"),
        (described("Completed"), "succeeded", "Completed"),
        (described("Failed", validation="Failed"), "failed", "Failed"),
        (described("Stopping", training="Stopping"), "cancelling", "Stopping/training"),
        (described("Stopped"), "cancelled", "Stopped"),
        (described("Pondering"), "unknown", "Pondering"),
    ],
)
def test_every_state_has_one_meaning(found: dict[str, Any], expected: str, word: str) -> None:
    assert (status.job_status(found), status.status_word(found)) == (JobStatus(expected), word)


def test_a_prompt_becomes_a_conversation() -> None:
    asked = [Message(role="system", content="Be brief."), Message(role="user", content="Hello")]
    assert conversation(asked, GenerationParameters(max_tokens=7, temperature=2.0)) == {
        "system": [{"text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"text": "Hello"}]}],
        "inferenceConfig": {"maxTokens": 7, "temperature": 1.0},
    }
    with pytest.raises(InvalidRequest, match="text only"):
        conversation([Message(role="tool", content="7", tool_call_id="c")], GenerationParameters())


@pytest.mark.timeout(1200)
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


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.plugins.test_bedrock import submitted
from tunebridge_bedrock.emulator import Emulator

folder, moment = Path(sys.argv[1]), sys.argv[2]
create = Emulator._create

def killed(self, asked):
    if moment == "after":
        create(self, asked)
    os.kill(os.getpid(), signal.SIGKILL)

Emulator._create = killed
submitted(Emulator(folder / "account").start(), folder)
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_killed_submit_leaves_one_job(moment: str, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), moment], cwd=root, check=False)
    assert done.returncode == -9
    emulator = Emulator(tmp_path / "account").start()
    assert len(emulator.jobs()) == (moment == "after")
    store, backend = Store(tmp_path / "store"), connected(emulator)
    (job,) = store.list()
    with store.exclusive(job.id):
        settled = submit.settle(store, backend, job.id)
    assert settled.backend_id == backend.find(job)
    assert len(emulator.jobs()) == 1
