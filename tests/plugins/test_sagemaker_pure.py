"""What of the sagemaker backend needs no service: plans, tables, reading on by cursor, unpacking without trust."""

import io
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tunebridge import digests
from tunebridge.errors import SpecError, StoreError
from tunebridge.job import JobStatus
from tunebridge.plan import Plan
from tunebridge.spec import JobSpec
from tunebridge.testing.case import small_dataset
from tunebridge.training.size import billions_of_weights
from tunebridge_sagemaker import instances, results, status
from tunebridge_sagemaker.follow import Cursor, Line, Place, after, bill_event, line_events, transition_events
from tunebridge_sagemaker.info import CAPABILITIES
from tunebridge_sagemaker.translate import translate

NEEDED = {"region": "us-east-1", "role_arn": "arn:aws:iam::123456789012:role/tuner", "bucket": "my-bucket"}
SERVERLESS = {
    "mode": "serverless",
    "model_package_group_arn": "arn:aws:sagemaker:us-east-1:123456789012:model-package-group/mine",
}
JOB = {"backend": "sagemaker", "base_model": "Qwen/Qwen3-0.6B", "data": {"train": "rows.jsonl"}}


def plan(kind: str = "sft", options: dict[str, Any] | None = None, **fields: Any) -> Plan:
    spec = JobSpec.model_validate({**JOB, **fields, "options": {"sagemaker": {**NEEDED, **(options or {})}}})
    return translate(spec, small_dataset(kind=kind), CAPABILITIES)


def refused(made: Plan) -> dict[str, str]:
    return {line.field: line.reason for line in made.refused}


def test_a_plan_is_a_request_with_the_smallest_machine() -> None:
    made = plan(hyperparameters={"epochs": 2, "seed": 7})
    assert not made.refused
    assert made.payload["request"] == {
        "RoleArn": NEEDED["role_arn"],
        "ResourceConfig": {"InstanceType": "ml.g6.2xlarge", "InstanceCount": 1},
        "AlgorithmSpecification": {
            "TrainingImage": "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.10.0-gpu-py313"
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 86_400},
    }
    assert (made.payload["run"]["epochs"], made.payload["run"]["seed"]) == (2.0, 7)


@pytest.mark.parametrize(
    ("model", "adapter", "machine"),
    [
        ("tunebridge/nano", "full", "ml.g6.2xlarge"),
        ("google/gemma-3-270m", "full", "ml.g6.2xlarge"),
        ("meta-llama/Llama-3.1-8B", "lora", "ml.g6.2xlarge"),
        ("Qwen/Qwen3-32B", "lora", None),
        ("Qwen/Qwen3-30B", "lora", "ml.p5.4xlarge"),
        ("Qwen/Qwen3-4B", "full", "ml.p5.4xlarge"),
    ],
)
def test_the_machine_fits_the_model(model: str, adapter: str, machine: str | None) -> None:
    made = plan(base_model=model, method={"adapter": adapter})
    if machine is None:
        assert "takes about 81 GB on one GPU" in refused(made)["base_model"]
    else:
        assert made.payload["request"]["ResourceConfig"]["InstanceType"] == machine


def test_preferences_are_learnt_by_the_trainer_too() -> None:
    made = plan(kind="preference", method={"type": "dpo", "beta": 0.2})
    assert not made.refused
    assert (made.payload["run"]["method"], made.payload["run"]["beta"]) == ("dpo", 0.2)


def test_a_machine_without_disks_gets_one() -> None:
    resources = plan(options={"instance_type": "ml.m5.xlarge"}).payload["request"]["ResourceConfig"]
    assert resources == {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 65}
    assert instances.has_local_disks("ml.m5d.xlarge")
    assert not instances.has_local_disks("ml.p3.2xlarge")


def test_a_model_of_unknown_size_gets_a_warning() -> None:
    assert "the size of some/model is not known" in plan(base_model="some/model").warnings[0]


@pytest.mark.parametrize(
    ("fields", "options", "field", "says"),
    [
        ({"method": "kto"}, SERVERLESS, "method.type", "not offered here"),
        ({"method": "dpo"}, {}, "data.train", "for dpo, rows of kind"),
        ({}, {"accept_eula": True}, "options.sagemaker.accept_eula", "belongs to the mode serverless"),
        ({}, {"network_isolation": True}, "base_model", "give an s3:// folder"),
        ({}, {"network_isolation": True}, "options.sagemaker.image_uri", "cannot install"),
        ({}, {"volume_gb": 100}, "options.sagemaker.volume_gb", "disks of its own"),
        ({"budget": {"max_usd": "0.5"}}, {}, "budget.max_usd", "nothing is left after the start"),
        ({"budget": {"max_usd": "5"}}, {"instance_type": "ml.p5.4xlarge"}, "budget.max_usd", "no price of"),
        ({}, {"spot": True, "max_wait_seconds": 60}, "options.sagemaker.max_wait_seconds", "at least the run's own"),
        ({}, {**SERVERLESS, "spot": True}, "options.sagemaker.spot", "belongs to the mode training_job"),
        ({"method": {"adapter": {"rank": 8}}}, SERVERLESS, "method.adapter.rank", "nothing like it"),
        ({"hyperparameters": {"max_length": 1000}}, SERVERLESS, "hyperparameters.max_length", "steps of 1024"),
        ({}, {**SERVERLESS, "technique": "RLVR"}, "options.sagemaker.technique", "belongs to the method reinforcement"),
        ({"method": "reinforcement"}, SERVERLESS, "options.sagemaker.technique", "RLVR or RLAIF; set it"),
        ({"method": "reinforcement"}, {}, "options.sagemaker.mode", "set mode: serverless"),
        ({}, {"mode": "serverless"}, "options.sagemaker.model_package_group_arn", "set it"),
    ],
)
def test_what_the_service_does_not_take_is_refused(
    fields: dict[str, Any], options: dict[str, Any], field: str, says: str
) -> None:
    assert says in refused(plan(options=options, **fields))[field]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"subnets": ["subnet-1"]}, "belong together"),
        ({"max_wait_seconds": 100}, "belongs to spot"),
        ({"bucket": "No"}, "options.sagemaker.bucket"),
    ],
)
def test_options_that_do_not_fit_are_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        plan(options=options)


def test_money_becomes_hours_that_keep_the_result() -> None:
    made = plan(budget={"max_usd": "12.22"})
    assert made.payload["run"]["max_hours"] == 9.5
    assert made.payload["request"]["StoppingCondition"]["MaxRuntimeInSeconds"] == 36_000
    shorter = plan(budget={"max_usd": "12.22", "max_hours": 1})
    assert shorter.payload["run"]["max_hours"] == 1
    assert not shorter.refused


def test_a_model_in_a_bucket_comes_through_a_channel() -> None:
    made = plan(base_model="s3://my-bucket/models/qwen3-0.6b/")
    assert made.payload["run"]["base_model"] == "/opt/ml/input/data/model"
    assert made.payload["model_uri"] == "s3://my-bucket/models/qwen3-0.6b/"


def test_serverless_speaks_in_recipes() -> None:
    made = plan(
        kind="preference",
        options={**SERVERLESS, "accept_eula": True, "recipe": {"lora_alpha": "32"}},
        base_model="meta-textgeneration-llama-3-8b",
        method="dpo",
        hyperparameters={"epochs": 2, "learning_rate": 1e-4, "max_length": 4096, "batch_size": "auto"},
    )
    assert not made.refused
    assert made.payload["request"]["ServerlessJobConfig"] == {
        "CustomizationTechnique": "DPO",
        "AcceptEula": True,
        "Peft": "LORA",
        "JobType": "FineTuning",
        "SequenceLength": "4K",
    }
    assert made.payload["hyperparameters"] == {"max_epochs": 2, "learning_rate": 1e-4}
    assert made.payload["rows"] == {"shape": "serverless_dpo"}
    assert plan(options=SERVERLESS, base_model="amazon.nova-lite-v1").payload["rows"] == {"shape": "nova_sft"}


@pytest.mark.parametrize(
    ("primary", "secondary", "expected"),
    [
        ("InProgress", "Starting", "queued"),
        ("InProgress", "Pending", "queued"),
        ("InProgress", "Downloading", "preparing"),
        ("InProgress", "Training", "running"),
        ("InProgress", "Interrupted", "running"),
        ("InProgress", "Uploading", "finalizing"),
        ("InProgress", "AWordOfTomorrow", "running"),
        ("Stopping", "Stopping", "cancelling"),
        ("Stopped", "Stopped", "cancelled"),
        ("Stopped", "MaxRuntimeExceeded", "failed"),
        ("Stopped", "MaxWaitTimeExceeded", "failed"),
        ("Completed", "Completed", "succeeded"),
        ("Failed", "Failed", "failed"),
        ("Deleting", "Stopped", "unknown"),
        ("Pondering", "Training", "unknown"),
    ],
)
def test_every_state_has_one_meaning(primary: str, secondary: str, expected: str) -> None:
    described = {"TrainingJobStatus": primary, "SecondaryStatus": secondary}
    assert status.job_status(described) == JobStatus(expected)
    assert status.status_word(described) == f"{primary}/{secondary}"


@pytest.mark.parametrize(
    ("reason", "said", "advice"),
    [
        ("AlgorithmError: , exit code: 137", None, "Memory ran out"),
        ("AlgorithmError: , exit code: 1", "RuntimeError: CUDA out of memory", "Memory ran out"),
        ("AlgorithmError: , exit code: 1", "row 3 is broken", "The trainer failed"),
        ("CapacityError: Unable to provision requested ML compute capacity", None, "no such machine free"),
        ("ResourceLimitExceeded: limit 0", None, "service quota"),
        ("ClientError: Data download failed: AccessDenied", None, "The role may not"),
        ("InternalServerError: We encountered an internal error", None, "submit the job again"),
        (None, None, "jobs logs"),
    ],
)
def test_a_failure_says_what_to_do(reason: str | None, said: str | None, advice: str) -> None:
    described = {"TrainingJobStatus": "Failed", "SecondaryStatus": "Failed", "FailureReason": reason}
    assert advice in status.failure(described, said)


def test_a_log_is_read_on_where_it_was_left_even_within_a_millisecond() -> None:
    lines = [Line(1, "a"), Line(2, "b"), Line(2, "b"), Line(2, "c"), Line(3, "d")]
    first, place = after(Place(), lines[:3])
    assert (first, place) == (lines[:3], Place(2, 2, 3))
    second, place = after(place, [line for line in lines if line.at_ms >= place.at_ms])
    assert (second, place) == (lines[3:], Place(3, 1, 5))
    nothing, same = after(place, lines[4:])
    assert (nothing, same) == ([], place)
    cursor = Cursor(2, {"algo-1-1": place})
    assert Cursor.parse(str(cursor)) == cursor


def test_lines_become_events_and_metrics() -> None:
    said = '{"type": "event", "id": "status-cancelled-1", "at": "2026-11-25T00:00:00+00:00", "kind": "status", '
    said += '"message": "stopped", "data": {"status": "cancelled"}}'
    metric = '{"type": "metric", "name": "train_loss", "value": 1.5, "step": 3, "at": "2026-11-25T00:00:00+00:00"}'
    lines = [Line(1000, "Collecting peft"), Line(2000, f"TUNEBRIDGE {said}"), Line(3000, f"TUNEBRIDGE {metric}")]
    events, metrics = line_events("algo-1-9", 4, lines)
    assert [(event.id, event.kind) for event in events] == [("log-algo-1-9-4", "log"), ("status-cancelled-1", "log")]
    assert events[1].at == datetime.fromtimestamp(2, UTC)
    assert [(found.name, found.value, found.step) for found in metrics] == [("train_loss", 1.5, 3)]


def test_transitions_and_the_bill() -> None:
    at = datetime(2026, 11, 25, tzinfo=UTC)
    found = transition_events([{"Status": "Interrupted", "StartTime": at, "StatusMessage": "gone"}], 3)
    assert [(event.id, event.kind, event.message) for event in found] == [
        ("transition-3", "warning", "Interrupted: gone")
    ]
    described = {"TrainingTimeInSeconds": 100, "BillableTimeInSeconds": 30, "TrainingEndTime": at}
    assert bill_event(described)[0].message == "100 s of training, 30 s billed"
    assert "70 % saved" in bill_event({**described, "EnableManagedSpotTraining": True})[0].message
    assert bill_event({}) == []


def test_images_lie_where_the_region_has_them() -> None:
    assert instances.image_uri("eu-south-1", "ml.m5.xlarge") == (
        "692866216735.dkr.ecr.eu-south-1.amazonaws.com/pytorch-training:2.10.0-cpu-py313"
    )
    assert instances.image_uri("cn-north-1", "ml.p4d.24xlarge").split("/")[0].endswith("amazonaws.com.cn")
    assert billions_of_weights("mistralai/Mixtral-8x7B-v0.1") == 56


def packed(folder: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    path = folder / "model.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


@pytest.mark.parametrize(
    "evil",
    [
        member("../escaped"),
        member("adapter/../../escaped"),
        member("/etc/escaped"),
        member("adapter/link", tarfile.SYMTYPE, "/etc/passwd"),
        member("adapter/link", tarfile.LNKTYPE, "../escaped"),
        member("adapter/pipe", tarfile.FIFOTYPE),
        member("adapter/device", tarfile.CHRTYPE),
    ],
)
def test_an_archive_is_not_trusted(evil: tarfile.TarInfo, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(StoreError, match="was not unpacked"):
        results.take(packed(tmp_path, (evil, b"")), tmp_path / "out", None)
    assert not list((tmp_path / "out").iterdir())
    assert not (tmp_path / "escaped").exists()


def test_an_archive_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(tmp_path, (member("adapter/a"), b"x" * 100))
    monkeypatch.setattr(results, "MAX_BYTES", 99)
    with pytest.raises(StoreError, match="too large"):
        results.unpack(archive, tmp_path / "out")


def test_a_result_must_be_what_was_trained(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "weights").write_bytes(b"1")
    digest = digests.of_folder(tmp_path / "adapter")
    record = f'{{"artifact_digest": "{digest}"}}'.encode()
    good = packed(tmp_path, (member("./adapter/weights"), b"1"), (member("./result.json"), record))
    target = tmp_path / "downloads"
    target.mkdir()
    assert results.take(good, target, digest) == target / "adapter"
    with pytest.raises(StoreError, match="exists already"):
        results.take(good, target, None)
    spoilt = packed(tmp_path, (member("./adapter/weights"), b"2"), (member("./result.json"), record))
    with pytest.raises(StoreError, match="differs from what was trained"):
        results.take(spoilt, target, None)
