"""The emulator's serverless jobs: recipes that the workshop really trains."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from tunebridge.errors import TuneBridgeError
from tunebridge.job import Job, JobStatus
from tunebridge.testing.workshop import Workshop
from tunebridge_aws.identity import ACCOUNT_ID
from tunebridge_aws.wire import REGION
from tunebridge_sagemaker.emulated import moment
from tunebridge_sagemaker.emulated_catalogue import MODELS

REWARDED = ("RLVR", "RLAIF")
"""Techniques whose rewards no emulator can give: supervised training on the rewarded answers stands in."""
DEFAULTS = {"max_epochs": "2", "global_batch_size": "4"}
MESSAGES = {
    "Downloading": "Downloading input data",
    "Training": "Training in progress",
    "Uploading": "Uploading the model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
}


def problem_of_serverless(request: Mapping[str, Any]) -> str | None:
    """Return what the service would say of a serverless request, None where it would accept it."""
    config = request["ServerlessJobConfig"]
    name = config["BaseModelArn"].partition("/Model/")[2].partition("/")[0]
    if name not in MODELS:
        return f"The base model {name} is not found"
    if MODELS[name] and not config.get("AcceptEula"):
        return f"To use {name} you must accept its end-user license agreement: set AcceptEula"
    if "ModelPackageConfig" not in request:
        return "ModelPackageConfig is required for serverless jobs"
    technique = config.get("CustomizationTechnique")
    if technique not in REWARDED and "EvaluatorArn" in config:
        return "EvaluatorArn belongs to RLVR and RLAIF"
    return None if technique else "CustomizationTechnique is required for FineTuning"


def move(record: dict[str, Any], workshop: Workshop, content: Callable[[str], bytes], *, stop: bool) -> dict[str, Any]:
    """Return a serverless job's record a moment later; `machine` in it is what a machine would have written."""
    machine = record.get("machine")
    if machine is None:
        first = {
            "Status": "Starting",
            "StartTime": record["created"],
            "StatusMessage": "Preparing the training job",
        }
        return {**record, "machine": {"status": "InProgress", "transitions": [first]}}
    if "ended" in machine:
        return record
    if record.get("workshop_id") is None:
        return _started(record, machine, workshop, content)
    if record.get("broken"):
        return _ended(record, "Failed", "Failed", failure="InternalServerError: the recipe failed")
    if stop:
        workshop.stop(record["workshop_id"])
    return _followed(record, workshop.look(record["workshop_id"]), workshop)


def _started(
    record: dict[str, Any], machine: dict[str, Any], workshop: Workshop, content: Callable[[str], bytes]
) -> dict[str, Any]:
    request = record["request"]
    files = {
        channel["ChannelName"]: content(channel["DataSource"]["S3DataSource"]["S3Uri"])
        for channel in request["InputDataConfig"]
    }
    known = {**DEFAULTS, **request.get("HyperParameters", {})}
    technique = request["ServerlessJobConfig"]["CustomizationTechnique"]
    knobs = {"epochs": float(known["max_epochs"]), "batch_size": int(known["global_batch_size"])}
    record = _said({**record, "machine": {**machine, "training_start": time.time()}}, "Downloading")
    name = request["TrainingJobName"]
    try:
        if technique in REWARDED:
            files = {split: _rewarded(text, workshop) for split, text in files.items()}
        method = {"type": "dpo" if technique == "DPO" else "sft"}
        started = workshop.start(name, files["train"], files.get("validation"), hyperparameters=knobs, method=method)
    except (KeyError, TypeError, ValueError, TuneBridgeError) as error:
        return _ended(record, "Failed", "Failed", failure=f"ClientError: {error}")
    return _said({**record, "workshop_id": started}, "Training")


def _rewarded(text: bytes, workshop: Workshop) -> bytes:
    """Return prompts with the answers that get a reward: the reference, or where there is none the model's own."""
    rows = []
    for line in text.splitlines():
        row = json.loads(line)
        told = row.get("reward_model", {}).get("ground_truth", row.get("reference_answer"))
        answer = told if isinstance(told, str) else json.dumps(told)
        turns = row.get("prompt") or row["messages"]
        rows.append({"messages": [*turns, *([{"role": "assistant", "content": answer}] if told else [])]})
    return b"".join(json.dumps(row).encode() + b"\n" for row in workshop.with_answers(rows))


def _followed(record: dict[str, Any], seen: Job, workshop: Workshop) -> dict[str, Any]:
    if seen.status == JobStatus.failed:
        return _ended(record, "Failed", "Failed", failure=f"AlgorithmError: {seen.error}")
    if seen.status == JobStatus.cancelled:
        return _ended(record, "Stopped", "Stopped")
    if seen.status != JobStatus.succeeded:
        return record
    group = record["request"]["ModelPackageConfig"]["ModelPackageGroupArn"].rpartition("/")[2]
    last = {metric.name: metric.value for metric in workshop.metrics(record["workshop_id"])}
    ended = _ended(_said(record, "Uploading"), "Completed", "Completed")
    package = f"arn:aws:sagemaker:{REGION}:{ACCOUNT_ID}:model-package/{group}/1"
    return {**ended, "tokens": seen.usage.trained_tokens, "package": package, "last": last}


def results(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what DescribeTrainingJob says of a serverless job beyond others."""
    if "package" not in record:
        return {}
    at = moment(record["machine"]["ended"])
    metrics = [{"MetricName": name, "Value": value, "Timestamp": at} for name, value in record["last"].items()]
    return {
        "OutputModelPackageArn": record["package"],
        "BillableTokenCount": record["tokens"],
        "FinalMetricDataList": metrics,
    }


def _said(record: dict[str, Any], word: str) -> dict[str, Any]:
    machine = record["machine"]
    entry = {"Status": word, "StartTime": time.time(), "StatusMessage": MESSAGES[word]}
    return {**record, "machine": {**machine, "transitions": [*machine["transitions"], entry]}}


def _ended(record: dict[str, Any], status: str, secondary: str, *, failure: str | None = None) -> dict[str, Any]:
    machine = _said(record, secondary)["machine"]
    trained = time.time() - machine.get("training_start", time.time())
    ended = {**machine, "status": status, "ended": time.time(), "training_seconds": trained}
    return {**record, "machine": {**ended, "failure": failure} if failure else ended}
