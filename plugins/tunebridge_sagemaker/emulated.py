"""The emulator's records in the service's own shape."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tunebridge_aws.buckets import Buckets
from tunebridge_aws.identity import ACCOUNT_ID
from tunebridge_aws.storage import Location
from tunebridge_aws.wire import REGION
from tunebridge_sagemaker.machine import SPOT_SHARE

STARTING_SECONDS = 0.3
"""How long a job waits for its machine."""
ECHOED = (
    "AlgorithmSpecification",
    "CheckpointConfig",
    "EnableManagedSpotTraining",
    "EnableNetworkIsolation",
    "Environment",
    "HyperParameters",
    "InputDataConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "RetryStrategy",
    "RoleArn",
    "ServerlessJobConfig",
    "StoppingCondition",
    "VpcConfig",
)


def arn(name: str) -> str:
    """Return a training job's ARN."""
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT_ID}:training-job/{name}"


def artifact_uri(request: Mapping[str, Any]) -> str:
    """Return where the job's archive will lie."""
    path = request["OutputDataConfig"]["S3OutputPath"].rstrip("/")
    return f"{path}/{request['TrainingJobName']}/output/model.tar.gz"


def problem_of_request(request: Mapping[str, Any], buckets: Buckets) -> str | None:
    """Return what the service would say of a request that its model allows, None where it would accept it."""
    needed = ("AlgorithmSpecification", "ResourceConfig", "StoppingCondition", "InputDataConfig")
    if "ServerlessJobConfig" not in request and (missing := [name for name in needed if name not in request]):
        return f"{missing[0]} is required"
    if "TrainingImage" not in request.get("AlgorithmSpecification", {"TrainingImage": ""}):
        return "TrainingImage or AlgorithmName is required"
    ends = request.get("StoppingCondition", {})
    waits = ends.get("MaxWaitTimeInSeconds")
    if (waits is not None) != bool(request.get("EnableManagedSpotTraining")):
        return "MaxWaitTimeInSeconds is required for, and belongs to, managed spot training"
    if waits is not None and waits < ends["MaxRuntimeInSeconds"]:
        return "MaxWaitTimeInSeconds must be equal to or greater than MaxRuntimeInSeconds"
    for channel in request.get("InputDataConfig", []):
        place = Location.parse(channel["DataSource"]["S3DataSource"]["S3Uri"])
        if not next(buckets.keys(place.bucket, place.key), None):
            return f"No S3 objects found under S3 URL {place.uri!r} given in input data source"
    return None


def described(record: Mapping[str, Any], machine: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job as DescribeTrainingJob does."""
    request, transitions = record["request"], machine["transitions"]
    name, last = request["TrainingJobName"], transitions[-1]
    ends = [found["StartTime"] for found in transitions[1:]]
    shown = [
        {
            **found,
            "StartTime": moment(found["StartTime"]),
            **({"EndTime": moment(ends[number])} if number < len(ends) else {}),
        }
        for number, found in enumerate(transitions)
    ]
    answer: dict[str, Any] = {
        "TrainingJobName": name,
        "TrainingJobArn": arn(name),
        "ModelArtifacts": {"S3ModelArtifacts": artifact_uri(request)},
        "TrainingJobStatus": machine["status"],
        "SecondaryStatus": last["Status"],
        "CreationTime": moment(record["created"]),
        "LastModifiedTime": moment(last["StartTime"]),
        "SecondaryStatusTransitions": shown,
        "StoppingCondition": {"MaxRuntimeInSeconds": 86_400},
        **{key: request[key] for key in ECHOED if key in request},
    }
    if "training_start" in machine:
        answer["TrainingStartTime"] = moment(machine["training_start"])
    if machine.get("metrics"):
        answer["FinalMetricDataList"] = [
            {"MetricName": found["name"], "Value": found["value"], "Timestamp": moment(found["at"])}
            for found in machine["metrics"]
        ]
    if "failure" in machine:
        answer["FailureReason"] = machine["failure"]
    if "ended" in machine:
        answer |= _billed(request, machine)
    return answer


def summary(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job as ListTrainingJobs does."""
    names = ("TrainingJobName", "TrainingJobArn", "CreationTime", "LastModifiedTime", "TrainingJobStatus")
    return {name: job[name] for name in (*names, "SecondaryStatus")}


def starting(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a job whose machine has not said anything yet."""
    first = {
        "Status": "Starting",
        "StartTime": record["created"],
        "StatusMessage": "Preparing the instances for training",
    }
    return {"status": "InProgress", "transitions": [first]}


def stopped_before(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a job that was stopped before it had a machine."""
    state = starting(record)
    state["transitions"].append(
        {"Status": "Stopped", "StartTime": record["created"], "StatusMessage": "Training job stopped"}
    )
    return {**state, "status": "Stopped", "ended": record["created"]}


def log_page(lines: Sequence[Mapping[str, Any]], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return a page of log events; the token that is given back once more says that there is no more."""
    start, end = asked.get("startTime", 0), asked.get("endTime", 2**62)
    found = [line for line in lines if start <= line["timestamp"] < end]
    limit, place = asked.get("limit", 10_000), int(asked.get("nextToken", "f/0")[2:])
    if not asked.get("startFromHead") and "nextToken" not in asked:
        place = max(0, len(found) - limit)
    page = [{**line, "ingestionTime": int(time.time() * 1000)} for line in found[place : place + limit]]
    return {"events": page, "nextForwardToken": f"f/{place + len(page)}", "nextBackwardToken": f"b/{place}"}


def moment(seconds: float) -> datetime:
    """Return a time as the SDK's protocols want it."""
    return datetime.fromtimestamp(seconds, UTC)


def _billed(request: Mapping[str, Any], machine: Mapping[str, Any]) -> dict[str, Any]:
    trained = max(1, round(machine.get("training_seconds", 0)))
    share = SPOT_SHARE if request.get("EnableManagedSpotTraining") else 1
    billed = max(1, round(trained * share))
    ended = {"TrainingEndTime": moment(machine["ended"])}
    return {**ended, "TrainingTimeInSeconds": trained, "BillableTimeInSeconds": billed}
