"""SageMaker's catalogue by the unchanged SageMaker SDK, against the emulator; `make test-jumpstart` has the SDK."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tunebridge import submit, watch
from tunebridge.errors import InvalidRequest, MissingDependency, NotFound
from tunebridge.job import Job, JobStatus
from tunebridge.plan import Plan
from tunebridge.spec import JobSpec
from tunebridge.store import Store
from tunebridge.testing.case import small_dataset

pytest.importorskip("boto3")

from tunebridge_sagemaker import jumpstart
from tunebridge_sagemaker.backend import SageMakerBackend
from tunebridge_sagemaker.conformance import STAND_INS, connected
from tunebridge_sagemaker.emulator import BUCKET, Emulator
from tunebridge_sagemaker.info import CAPABILITIES
from tunebridge_sagemaker.translate import translate

QWEN, LLAMA = "huggingface-reasoning-qwen3-1-7b", "meta-textgeneration-llama-3-8b"
has_sdk = find_spec("sagemaker") is not None
with_sdk = pytest.mark.skipif(not has_sdk, reason="needs the SageMaker SDK (1 GB): make test-jumpstart")


def spec(base_model: str = QWEN, options: dict[str, Any] | None = None, **fields: Any) -> JobSpec:
    section = {**STAND_INS, "mode": "jumpstart", "instance_type": "ml.g6.2xlarge", **(options or {})}
    job = {"backend": "sagemaker", "base_model": base_model, "data": {"train": "rows.jsonl"}, **fields}
    return JobSpec.model_validate({**job, "options": {"sagemaker": section}})


def plan(kind: str = "sft", options: dict[str, Any] | None = None, **fields: Any) -> Plan:
    return translate(spec(options=options, **fields), small_dataset(kind=kind), CAPABILITIES)


def test_a_plan_says_which_recipe_and_what_is_changed_in_it() -> None:
    made = plan(
        options={"recipe": {"lora_r": "4"}, "max_runtime_seconds": 3600, "model_version": "1.0.0", "retries": 2},
        hyperparameters={"epochs": 2, "learning_rate": 1e-4, "max_length": 128, "batch_size": "auto"},
    )
    assert not made.refused
    assert made.payload["catalogue"] == {"model_id": QWEN, "instance_type": "ml.g6.2xlarge", "model_version": "1.0.0"}
    assert made.payload["hyperparameters"] == {"epoch": 2, "learning_rate": 1e-4, "max_input_length": 128}
    assert made.payload["rows"] == {"shape": "jumpstart"}
    composed = {"StoppingCondition": {"MaxRuntimeInSeconds": 1, "MaxPendingTimeInSeconds": 7200}, "HyperParameters": {}}
    request = jumpstart.complete(made.payload, composed)
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600, "MaxPendingTimeInSeconds": 7200}
    asked = jumpstart.asked_of_sdk(made.payload, {"training": "s3://b/x"}, {"bucket": "b"})
    assert asked["hyperparameters"]["lora_r"] == "4"
    assert asked["hyperparameters"]["instruction_tuned"] == "True"


@pytest.mark.parametrize(
    ("fields", "options", "kind", "field", "says"),
    [
        ({}, {"spot": True}, "sft", "options.sagemaker.spot", "belongs to the mode training_job"),
        ({}, {"technique": "RLVR"}, "sft", "options.sagemaker.technique", "belongs to the mode serverless"),
        ({"method": "dpo"}, {}, "preference", "method.type", "jumpstart trains sft"),
        ({}, {}, "text", "data.train", "rows of kind sft"),
        ({"hyperparameters": {"epochs": 1.5}}, {}, "sft", "hyperparameters.epochs", "whole passes"),
        ({"method": {"adapter": "full"}}, {}, "sft", "method.adapter.type", "the model's recipe decides"),
        ({"hyperparameters": {"weight_decay": 0.1}}, {}, "sft", "hyperparameters.weight_decay", "nothing like it"),
    ],
)
def test_what_the_recipes_do_not_take_is_refused(
    fields: dict[str, Any], options: dict[str, Any], kind: str, field: str, says: str
) -> None:
    assert says in {line.field: line.reason for line in plan(kind, options, **fields).refused}[field]


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    running = Emulator(tmp_path / "account").start()
    yield running
    running.end_machines()
    running.account.wire.stop()


def submitted(emulator: Emulator, folder: Path, **fields: Any) -> tuple[Store, SageMakerBackend, Job]:
    store, backend, data = Store(folder / "store"), connected(emulator), small_dataset(validation=True)
    return store, backend, submit.submit(store, backend, backend.plan(spec(**fields), data), data, again=True)


@pytest.mark.skipif(has_sdk, reason="the SDK is there")
def test_without_the_sdk_the_extra_is_named(emulator: Emulator, tmp_path: Path) -> None:
    with pytest.raises(MissingDependency, match=r"tunebridge\[jumpstart\]"):
        submitted(emulator, tmp_path)
    assert emulator.jobs() == {}


@with_sdk
@pytest.mark.torch
def test_a_recipe_of_the_catalogue_runs_to_its_result(emulator: Emulator, tmp_path: Path) -> None:
    store, backend, job = submitted(emulator, tmp_path, hyperparameters={"epochs": 1, "max_length": 64, "seed": 1})
    (record,) = emulator.jobs().values()
    request = record["request"]
    assert request["TrainingJobName"] == job.id
    assert request["HyperParameters"] | {"epoch": "1", "seed": "1", "lora_r": "8"} == request["HyperParameters"]
    assert {channel["ChannelName"] for channel in request["InputDataConfig"]} == {
        "training", "validation", "model", "code", "sm_drivers"
    }  # fmt: skip
    tags = {tag["Key"]: tag["Value"] for tag in request["Tags"]}
    assert (tags["tunebridge-job"], tags["sagemaker-sdk:jumpstart-model-id"]) == (job.id, QWEN)
    for _ in watch.watch(store, backend, job.id, timeout_seconds=250):
        pass
    ended = store.get(job.id)
    assert ended.status == JobStatus.succeeded, [event.message for _, event in store.events(job.id)][-30:]
    (metric,) = store.metrics(job.id)
    assert metric.name == "train_loss"
    (artifact,) = backend.artifacts(ended)
    assert list(backend.download(ended, artifact, tmp_path / "results").rglob("adapter_model.safetensors"))
    backend.delete(ended)
    assert [key for key in emulator.account.buckets.keys(BUCKET) if job.id in key] == []


@with_sdk
def test_a_second_create_adopts_the_first(emulator: Emulator, tmp_path: Path) -> None:
    store, backend, job = submitted(emulator, tmp_path)
    assert backend.submit(store.plan(job.id), job) == job.backend_id
    assert len(emulator.jobs()) == 1


@with_sdk
def test_a_lost_answer_leaves_one_job(emulator: Emulator, tmp_path: Path) -> None:
    emulator.faults.inject("dropped_after")
    _, _, job = submitted(emulator, tmp_path)
    assert (job.backend_id, len(emulator.jobs())) == (job.id, 1)


@with_sdk
@pytest.mark.parametrize(
    ("fields", "kind", "says"),
    [
        ({"base_model": LLAMA}, InvalidRequest, "accepting the EULA"),
        ({"base_model": "no-such-model"}, NotFound, "does not exist"),
        ({"options": {"recipe": {"wheels": "4"}}}, InvalidRequest, "recipe has no wheels; it has epoch"),
        ({"options": {"instance_type": "ml.p5.48xlarge"}}, InvalidRequest, "only supported for the following"),
    ],
)
def test_what_the_catalogue_refuses_is_said(
    fields: dict[str, Any], kind: type[Exception], says: str, emulator: Emulator, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=says):
        submitted(emulator, tmp_path, **fields)
    assert emulator.jobs() == {}


@with_sdk
def test_a_licence_is_accepted_by_the_users_word(emulator: Emulator, tmp_path: Path) -> None:
    submitted(emulator, tmp_path, base_model=LLAMA, options={"accept_eula": True})
    (record,) = emulator.jobs().values()
    (model,) = [found for found in record["request"]["InputDataConfig"] if found["ChannelName"] == "model"]
    assert model["DataSource"]["S3DataSource"]["ModelAccessConfig"] == {"AcceptEula": True}


ALONE = """
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.jumpstart.configs import JumpStartConfig
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import InputData
trainer = ModelTrainer.from_jumpstart_config(
    JumpStartConfig(model_id="{model}"), sagemaker_session=Session(default_bucket="{bucket}"), role="{role}"
)
trainer.train([InputData(channel_name="training", data_source="s3://{bucket}/rows")], wait=False)
print(trainer._latest_training_job.training_job_name)
"""


@with_sdk
def test_the_unchanged_sdk_alone_is_served_on_plain_environment_variables(emulator: Emulator, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text(json.dumps({"prompt": "a", "completion": "b"}))
    emulator.account.buckets.put(BUCKET, "rows/train.jsonl", tmp_path / "rows")
    settings = Path(jumpstart.__file__).with_name("sdk.yaml")
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL": emulator.account.wire.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        **{name.upper(): value for name, value in emulator.account.credentials.items()},
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(settings),
    }
    program = ALONE.format(model=QWEN, bucket=BUCKET, role=STAND_INS["role_arn"])
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(emulator.jobs()) == [done.stdout.split()[-1]]
