"""SageMaker against its emulator, with the unchanged boto3."""

import random
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tunebridge import submit, watch
from tunebridge.backend import GenerationParameters
from tunebridge.client import Client
from tunebridge.data.example import Message
from tunebridge.errors import InvalidRequest, NotFound, PermissionDenied, UnsupportedFeature
from tunebridge.job import Job, JobStatus
from tunebridge.spec import JobSpec
from tunebridge.store import Store
from tunebridge.testing.case import BackendCase, small_dataset
from tunebridge.testing.suite import BackendConformance

pytest.importorskip("boto3")
pytestmark = pytest.mark.torch

from tunebridge_sagemaker import conformance  # noqa: E402
from tunebridge_sagemaker.backend import SageMakerBackend  # noqa: E402
from tunebridge_sagemaker.conformance import JOB, STAND_INS, connected  # noqa: E402
from tunebridge_sagemaker.emulator import BUCKET, Emulator  # noqa: E402


class TestSageMaker(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> Iterator[BackendCase]:
        yield conformance.case()
        conformance.shared_emulator().end_machines()


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    running = Emulator(tmp_path / "account").start()
    yield running
    running.end_machines()
    running.account.wire.stop()


def submitted(emulator: Emulator, folder: Path, **fields: Any) -> tuple[Store, SageMakerBackend, Job]:
    store, backend, data = Store(folder / "store"), connected(emulator), small_dataset()
    spec = JobSpec.model_validate({**JOB, **fields})
    return store, backend, submit.submit(store, backend, backend.plan(spec, data), data, again=True)


def followed(store: Store, backend: SageMakerBackend, job: Job) -> Job:
    for _ in watch.watch(store, backend, job.id, timeout_seconds=200):
        pass
    return store.get(job.id)


JOB_FILE = """
backend: local
base_model: tunebridge/nano
data: {train: rows.jsonl, validation: 25%}
method: {type: sft, adapter: {type: lora, rank: 4, dropout: 0.1}}
hyperparameters: {epochs: 6, batch_size: 4, seed: 3}
options:
  local: {threads: 1}
  sagemaker: {threads: 1, spot: true, checkpoint_seconds: 0}
"""


def test_one_changed_line_and_an_interruption_give_the_same_weights(tmp_path: Path) -> None:
    small_dataset(rows=24).train.write(tmp_path / "rows.jsonl")
    (tmp_path / "job.yaml").write_text(JOB_FILE)
    client = Client(tmp_path / "home")
    here = client.wait(client.submit(tmp_path / "job.yaml").id)
    there = client.submit(tmp_path / "job.yaml", overrides=["backend=sagemaker"], rehearse=True)
    there = client.wait(there.id, timeout_seconds=200)
    assert (there.status, there.rehearsal) == (JobStatus.succeeded, True)
    messages = [event.message for _, event in client.events(there.id)]
    assert sum("Interrupted" in message for message in messages) == 1
    assert sum("going on after step" in message for message in messages) == 1
    assert any("% saved" in message for message in messages)
    assert _weights(client, here, tmp_path / "here") == _weights(client, there, tmp_path / "there")
    names = {metric.name for metric in client.metrics(there.id)}
    assert {"train_loss", "validation_loss", "learning_rate"} <= names
    assert there.usage.training_seconds
    backend = client.rehearsal("sagemaker").backend
    assert isinstance(backend, SageMakerBackend)
    found = backend._connect(there.connection).describe(there.id)["FinalMetricDataList"]
    last = [metric.value for metric in client.metrics(there.id) if metric.name == "train_loss"][-1]
    assert {metric["MetricName"]: metric["Value"] for metric in found}["train_loss"] == pytest.approx(last, rel=1e-5)


def _weights(client: Client, job: Job, folder: Path) -> bytes:
    (found,) = client.download(job.id, folder)
    return (found / "adapter_model.safetensors").read_bytes()


def test_the_uploaded_source_is_what_runs(emulator: Emulator, tmp_path: Path) -> None:
    store, backend, job = submitted(emulator, tmp_path)
    bucket = tmp_path / "account" / "s3" / BUCKET
    (source,) = bucket.rglob("source.tar.gz.object")
    _replace(source, "tunebridge/training/start.py", b"raise SystemExit('out of memory, says the uploaded source')")
    ended = followed(store, backend, job)
    assert ended.status == JobStatus.failed
    assert ended.error is not None
    assert ended.error.startswith("AlgorithmError")
    assert "says the uploaded source" in ended.error
    assert "lower hyperparameters.max_length" in ended.error


def _replace(archive: Path, name: str, content: bytes) -> None:
    folder = archive.parent / "unpacked"
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (folder / name).write_bytes(content)
    with tarfile.open(archive, "w:gz") as tar:
        for path in folder.rglob("*"):
            if path.is_file():
                tar.add(path, path.relative_to(folder))


def test_a_run_out_of_time_is_a_failure(emulator: Emulator, tmp_path: Path) -> None:
    emulator.faults.inject("max_runtime")
    ended = followed(*submitted(emulator, tmp_path))
    assert (ended.status, ended.backend_status) == (JobStatus.failed, "Stopped/MaxRuntimeExceeded")
    assert "Raise budget.max_hours" in (ended.error or "")


def test_waiting_for_capacity_is_queued_and_can_be_ended(emulator: Emulator, tmp_path: Path) -> None:
    emulator.faults.inject("capacity_pending")
    store, backend, job = submitted(emulator, tmp_path)
    seen = set()
    while job.backend_status != "InProgress/Pending":
        job = watch.poll_once(store, backend, job.id)
        seen.add(job.status)
        time.sleep(0.05)
    assert seen == {JobStatus.queued}
    backend.cancel(job)
    backend.cancel(job)  # a second time, while it stops or after, is no error
    assert followed(store, backend, job).status == JobStatus.cancelled


def test_a_role_that_may_not_says_so_and_nothing_is_made(emulator: Emulator, tmp_path: Path) -> None:
    emulator.faults.inject("access_denied")
    with pytest.raises(PermissionDenied, match="iam:PassRole"):
        submitted(emulator, tmp_path)
    assert emulator.jobs() == {}


def test_a_second_create_adopts_the_first_and_leaves_a_strangers_job_alone(emulator: Emulator, tmp_path: Path) -> None:
    store, backend, job = submitted(emulator, tmp_path)
    assert backend.submit(store.plan(job.id), job) == job.backend_id
    assert len(emulator.jobs()) == 1
    with emulator.account.shelf.opened() as state:
        state["jobs"][job.id]["request"]["Tags"] = [{"Key": "team", "Value": "other"}]
    assert backend.find(job) is None
    with pytest.raises(InvalidRequest, match="is another one"):
        backend.submit(store.plan(job.id), job)


def test_the_source_is_uploaded_once_and_a_job_leaves_nothing_else(emulator: Emulator, tmp_path: Path) -> None:
    for number in range(2):
        store, backend, job = submitted(emulator, tmp_path / str(number))
    buckets = emulator.account.buckets
    assert len(list(buckets.keys(BUCKET, "tunebridge/source/"))) == 1
    assert len(list(buckets.keys(BUCKET, f"tunebridge/jobs/{job.id}/"))) == 1
    backend.cancel(job)
    backend.delete(followed(store, backend, job))
    assert list(buckets.keys(BUCKET, f"tunebridge/jobs/{job.id}/")) == []
    with pytest.raises(NotFound):
        backend.poll(job, None)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("trials", [12, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_each_lost_answer_leaves_one_job(
    trials: int, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr("tunebridge_sagemaker.emulated.STARTING_SECONDS", 3600)
    draw = random.Random(1)
    for number in range(trials):
        fault = draw.choice(("unavailable_after", "dropped_after", "unavailable_before", "rate_limited"))
        emulator.faults.inject(fault)
        _, _, job = submitted(emulator, tmp_path, base_model="a/hub-model-1b")
        assert job.backend_id == job.id, f"trial {number}: {fault}"
    assert len(emulator.jobs()) == trials


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.plugins.test_sagemaker import submitted
from tunebridge_sagemaker.emulator import Emulator

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
def test_a_killed_submit_leaves_one_job(moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunebridge_sagemaker.emulated.STARTING_SECONDS", 3600)
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), moment], cwd=root, check=False)
    assert done.returncode == -9
    emulator = Emulator(tmp_path / "account").start()
    assert len(emulator.jobs()) == (moment == "after")
    store, backend = Store(tmp_path / "store"), connected(emulator)
    (job,) = store.list()
    with store.exclusive(job.id):
        settled = submit.settle(store, backend, job.id)
    assert settled.backend_id == job.id
    assert len(emulator.jobs()) == 1


QWEN, LLAMA = "huggingface-reasoning-qwen3-1-7b", "meta-textgeneration-llama-3-8b"


def serverless(**options: Any) -> dict[str, Any]:
    group = "arn:aws:sagemaker:us-east-1:123456789012:model-package-group/mine"
    section = {**STAND_INS, "mode": "serverless", "model_package_group_arn": group, **options}
    return {"base_model": QWEN, "hyperparameters": {"epochs": 1}, "options": {"sagemaker": section}}


def test_a_serverless_job_leaves_a_model_package_and_says_its_tokens(emulator: Emulator, tmp_path: Path) -> None:
    store, backend, job = submitted(emulator, tmp_path, **serverless(tags={"team": "a"}))
    ended = followed(store, backend, job)
    assert ended.status == JobStatus.succeeded, ended.error
    (package,) = backend.artifacts(ended)
    assert (package.kind, package.uri.rpartition("/")[0].rpartition("/")[2]) == ("model_id", "mine")
    assert ended.usage.trained_tokens
    assert {metric.name for metric in store.metrics(job.id)} >= {"train_loss"}
    (record,) = emulator.jobs().values()
    assert record["request"]["ServerlessJobConfig"] == {
        "BaseModelArn": f"arn:aws:sagemaker:us-east-1:aws:hub-content/SageMakerPublicHub/Model/{QWEN}/1.0.0",
        "CustomizationTechnique": "SFT",
        "JobType": "FineTuning",
        "Peft": "LORA",
    }
    with pytest.raises(UnsupportedFeature):
        backend.download(ended, package, tmp_path)


@pytest.mark.parametrize("technique", ["RLVR", "RLAIF"])
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_rewards_are_passed_through(technique: str, whole: bool, emulator: Emulator, tmp_path: Path) -> None:
    reward = "arn:aws:sagemaker:us-east-1:123456789012:hub-content/mine/JsonDoc/reward/1.0.0"
    options = serverless(technique=technique, evaluator_arn=reward, recipe={"judge_model_id": "amazon.nova-pro-v1:0"})
    store, backend, data = Store(tmp_path / "store"), connected(emulator), small_dataset(kind="prompt_only")
    spec = JobSpec.model_validate({**JOB, **options, "method": "reinforcement"})
    job = submit.submit(store, backend, backend.plan(spec, data), data)
    (record,) = emulator.jobs().values()
    config = record["request"]["ServerlessJobConfig"]
    assert (config["CustomizationTechnique"], config["EvaluatorArn"]) == (technique, reward)
    assert record["request"]["HyperParameters"]["judge_model_id"] == "amazon.nova-pro-v1:0"
    if whole:
        assert followed(store, backend, job).status == JobStatus.succeeded


def test_a_licence_is_accepted_by_the_users_word_only(emulator: Emulator, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="accept its end-user license"):
        submitted(emulator, tmp_path, **{**serverless(), "base_model": LLAMA})
    submitted(emulator, tmp_path, **{**serverless(accept_eula=True), "base_model": LLAMA})
    with pytest.raises(NotFound, match="does not exist"):
        submitted(emulator, tmp_path, **{**serverless(), "base_model": "no-such-model"})
    assert len(emulator.jobs()) == 1


@pytest.mark.slow
def test_an_endpoint_is_made_on_request_answers_as_the_model_here_and_leaves_nothing(
    emulator: Emulator, tmp_path: Path
) -> None:
    store, backend, job = submitted(emulator, tmp_path, hyperparameters={"epochs": 20, "batch_size": 4})
    job = followed(store, backend, job)
    asked = [(Message(role="user", content=f"What is the colour of ball {number}?"),) for number in range(6)]
    with pytest.raises(NotFound, match="tunebridge deploy"):
        list(backend.generate(job, asked, GenerationParameters()))
    quoted = backend.quote(job)
    assert (str(quoted.usd_per_hour), emulator.hosting.standing()) == ("1.222", [])
    job = job.model_copy(update={"deployment": quoted})
    while not backend.deploy(job).is_ready:
        time.sleep(0.1)
    assert emulator.hosting.standing() == ["Model", "EndpointConfig", "Endpoint"]
    answers = list(backend.generate(job, asked, GenerationParameters(max_tokens=4)))
    assert [answer.output.strip() for answer in answers] == ["red"] * 6
    for _ in range(2):
        backend.undeploy(job)
    assert emulator.hosting.standing() == []
    assert backend.deployment(job) is None


@pytest.mark.slow
def test_a_rehearsal_of_a_hub_model_needs_no_network(emulator: Emulator, tmp_path: Path) -> None:
    store, backend, job = submitted(emulator, tmp_path, base_model="a/hub-model-1b")
    ended = followed(store, backend, job)
    assert ended.status == JobStatus.succeeded, ended.error
    messages = [event.message for _, event in store.events(job.id)]
    assert any("tunebridge/nano stands in for a/hub-model-1b" in message for message in messages)
