"""The emulator's records in the service's own shape, and how a job moves from phase to phase."""

import csv
import io
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from tunebridge.backend import Generation
from tunebridge.data.example import Message
from tunebridge.errors import TuneBridgeError
from tunebridge.job import JobStatus, Metric
from tunebridge.testing.workshop import Workshop
from tunebridge_aws.identity import ACCOUNT_ID
from tunebridge_aws.storage import Location
from tunebridge_aws.wire import REGION
from tunebridge_bedrock.models import model_for
from tunebridge_bedrock.status import PHASES

ARN = f"arn:aws:bedrock:{REGION}:{ACCOUNT_ID}"
ENDED = ("Completed", "Failed", "Stopped")
DEFAULTS = {"epochCount": "2"}
BATCH_SIZE = 4
"""Rows per step where the service chooses and does not say how."""
ECHOED = (
    "clientRequestToken",
    "customizationConfig",
    "customizationType",
    "hyperParameters",
    "jobName",
    "outputDataConfig",
    "roleArn",
    "trainingDataConfig",
    "vpcConfig",
)
SUMMARY = ("baseModelArn", "creationTime", "jobArn", "jobName", "lastModifiedTime", "status", "statusDetails")
SHAPES_BY_TYPE = {
    "CONTINUED_PRE_TRAINING": "pretraining",
    "DISTILLATION": "distillation",
    "REINFORCEMENT_FINE_TUNING": "rft",
}
"""Customization type -> shape of its rows; of the others the model decides."""
ANSWERED_HERE = ("distillation", "rft")
"""Shapes whose rows may lack the answer."""
CONFIGS = {"DISTILLATION": "distillationConfig", "REINFORCEMENT_FINE_TUNING": "rftConfig"}
"""Customization type -> the part of customizationConfig that belongs to it."""
SCHEMA = "bedrock-conversation-2024"


def new_job(asked: Mapping[str, Any], number: str) -> dict[str, Any]:
    """Return the record of a job that was just made."""
    phases = {phase: {"status": "NotStarted"} for phase in PHASES}
    record = {"asked": dict(asked), "number": number, "created": time.time(), "status": "InProgress"}
    return {**record, "phases": phases, "workshop_id": None, "model": None, "failure": None, "ended": None}


def base_arn(model: str) -> str:
    """Return the ARN of a foundation model."""
    return model if model.startswith("arn:") else f"arn:aws:bedrock:{REGION}::foundation-model/{model}"


def job_arn(job: Mapping[str, Any]) -> str:
    """Return a job's ARN."""
    base = base_arn(job["asked"]["baseModelIdentifier"]).rpartition("/")[2]
    return f"{ARN}:model-customization-job/{base}/{job['number']}"


def described(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job as GetModelCustomizationJob does."""
    asked = job["asked"]
    times = {"creationTime": moment(job["created"]), "lastModifiedTime": moment(job["ended"] or job["created"])}
    details = {f"{phase}Details": _phase(job["phases"][phase]) for phase in PHASES}
    answer = {
        **{name: asked[name] for name in ECHOED if name in asked},
        **times,
        "jobArn": job_arn(job),
        "outputModelName": asked["customModelName"],
        "baseModelArn": base_arn(asked["baseModelIdentifier"]),
        "validationDataConfig": asked.get("validationDataConfig", {"validators": []}),
        "status": job["status"],
        "statusDetails": details,
    }
    if job["ended"]:
        answer["endTime"] = moment(job["ended"])
    if job["failure"]:
        answer["failureMessage"] = job["failure"]
    return {**answer, "outputModelArn": job["model"]} if job["model"] else answer


def move(job: dict[str, Any], workshop: Workshop, content: Callable[[str], bytes]) -> dict[str, Any]:
    """Return a job as it is a moment later."""
    if job["status"] in ENDED:
        return job
    if job.get("broken"):
        return _ended(job, "Failed", "Internal error while the model was trained")
    if job["phases"]["validation"]["status"] == "NotStarted":
        return _with_phase(job, "validation", "InProgress")
    if job["workshop_id"] is None:
        return _ended(job, "Stopped", None) if job["status"] == "Stopping" else _started(job, workshop, content)
    seen = workshop.look(job["workshop_id"])
    if seen.status == JobStatus.succeeded:
        job = _with_phase(job, "training", "Completed")
        base = base_arn(job["asked"]["baseModelIdentifier"]).rpartition("/")[2]
        return _ended({**job, "model": f"{ARN}:custom-model/{base}/{job['number']}"}, "Completed", None)
    if seen.status == JobStatus.failed:
        return _ended(_with_phase(job, "training", "Failed"), "Failed", seen.error or "Training failed")
    if seen.status == JobStatus.cancelled:
        return _ended(_with_phase(job, "training", "Stopped"), "Stopped", None)
    return job


def metric_files(job: Mapping[str, Any], metrics: Sequence[Metric]) -> dict[Location, bytes]:
    """Return the files that the service leaves in the bucket, by place."""
    home = Location.parse(job["asked"]["outputDataConfig"]["s3Uri"]).below(f"model-customization-job-{job['number']}")
    places = {
        "train_loss": ("training_loss", "training_artifacts/step_wise_training_metrics.csv"),
        "validation_loss": (
            "validation_loss",
            "validation_artifacts/post_fine_tuning_validation/validation_metrics.csv",
        ),
    }
    found = {}
    for name, (column, file) in places.items():
        rows = [metric for metric in metrics if metric.name == name]
        if rows:
            found[home.below(*file.split("/"))] = _csv(column, rows)
    return found


def conversation(asked: Mapping[str, Any]) -> list[Message]:
    """Return the turns of a Converse request."""
    system = [Message(role="system", content=_text(asked["system"]))] if asked.get("system") else []
    return [*system, *(Message(role=turn["role"], content=_text(turn["content"])) for turn in asked["messages"])]


def converse_answer(answer: Generation) -> dict[str, Any]:
    """Return an answer as Converse does."""
    used = answer.tokens or 0
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": answer.output}]}},
        "stopReason": {"stop": "end_turn", "length": "max_tokens"}.get(answer.finish_reason, "end_turn"),
        "usage": {"inputTokens": 0, "outputTokens": used, "totalTokens": used},
        "metrics": {"latencyMs": 1},
    }


def canonical_rows(text: bytes, shape: str) -> list[dict[str, Any]]:
    """Return uploaded rows as the trainer reads them; ValueError, with the line, when the model takes one not."""
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            rows.append(_READERS[shape](json.loads(line)))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"Line {number} of the data is not what the model takes: {error!r}") from error
    return rows


def moment(seconds: float) -> datetime:
    """Return a time as the SDK's protocols want it."""
    return datetime.fromtimestamp(seconds, UTC)


def _started(job: dict[str, Any], workshop: Workshop, content: Callable[[str], bytes]) -> dict[str, Any]:
    asked = job["asked"]
    validators = asked.get("validationDataConfig", {}).get("validators", [])
    try:
        train = _rows(asked, content(asked["trainingDataConfig"]["s3Uri"]), workshop)
        held_out = _rows(asked, content(validators[0]["s3Uri"]), workshop) if validators else None
        of_rft = asked.get("customizationConfig", {}).get("rftConfig", {}).get("hyperParameters", {})
        knobs = {**DEFAULTS, **asked.get("hyperParameters", {}), **of_rft}
        hyperparameters = {"epochs": int(knobs["epochCount"]), "batch_size": int(knobs.get("batchSize", BATCH_SIZE))}
        started = workshop.start(job["number"], train, held_out, hyperparameters=hyperparameters)
    except (TuneBridgeError, ValueError) as error:
        return _ended(_with_phase(job, "validation", "Failed"), "Failed", str(error))
    for phase, word in (("validation", "Completed"), ("dataProcessing", "Completed"), ("training", "InProgress")):
        job = _with_phase(job, phase, word)
    return {**job, "workshop_id": started}


def _rows(asked: Mapping[str, Any], text: bytes, workshop: Workshop) -> bytes:
    """Return uploaded rows as the trainer reads them; where answers are missing, the base model's own stand in."""
    kind = asked.get("customizationType", "FINE_TUNING")
    shape = SHAPES_BY_TYPE.get(kind) or model_for(asked["baseModelIdentifier"]).shape
    rows = canonical_rows(text, shape)
    if shape in ANSWERED_HERE:
        rows = workshop.with_answers(rows)
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def problem_of_request(asked: Mapping[str, Any]) -> str | None:
    """Return what the service would say of a request that its model allows, None where it would accept it."""
    kind, config = asked.get("customizationType", "FINE_TUNING"), asked.get("customizationConfig", {})
    for own, part in CONFIGS.items():
        if (kind == own) != (part in config):
            return f"customizationConfig.{part} belongs to {own}, which needs it"
    if kind == "REINFORCEMENT_FINE_TUNING" and "graderConfig" not in config["rftConfig"]:
        return "graderConfig is required"
    return f"customizationType {kind} cannot be created" if kind == "IMPORTED" else None


def _with_phase(job: dict[str, Any], phase: str, word: str) -> dict[str, Any]:
    known, now = job["phases"][phase], time.time()
    changed = {"begun": now, **known, "status": word, "changed": now}
    return {**job, "phases": {**job["phases"], phase: changed}}


def _ended(job: dict[str, Any], word: str, failure: str | None) -> dict[str, Any]:
    return {**job, "status": word, "failure": failure, "ended": time.time()}


def _phase(phase: Mapping[str, Any]) -> dict[str, Any]:
    times = {"creationTime": "begun", "lastModifiedTime": "changed"}
    return {"status": phase["status"], **{k: moment(phase[v]) for k, v in times.items() if v in phase}}


def _csv(column: str, rows: Sequence[Metric]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step_number", "epoch_number", column, "perplexity"])
    writer.writerows([row.step, 0, row.value, math.exp(min(row.value, 50))] for row in rows)
    return text.getvalue().encode()


def _text(blocks: Sequence[Mapping[str, Any]]) -> str:
    return "".join(block["text"] for block in blocks)


def _of_converse(row: Any, *, may_be_open: bool = False) -> dict[str, Any]:
    if row["schemaVersion"] != SCHEMA:
        raise ValueError(f"schemaVersion must be {SCHEMA}")
    roles = [turn["role"] for turn in row["messages"]]
    alternating = roles == (["user", "assistant"] * len(roles))[: len(roles)]
    if not roles or not alternating or (roles[-1] == "user" and not may_be_open):
        raise ValueError("user and assistant must alternate, and the assistant comes last")
    return {"messages": [turn.model_dump(mode="json", exclude_none=True) for turn in conversation(row)]}


def _of_prompt(row: Any) -> dict[str, Any]:
    if row.keys() != {"prompt", "completion"} or not row["prompt"] or not row["completion"]:
        raise ValueError("a prompt and a completion, and nothing else, are expected")
    return dict(row)


def _of_claude(row: Any) -> dict[str, Any]:
    system = [{"role": "system", "content": row["system"]}] if "system" in row else []
    return {"messages": [*system, *row["messages"]]}


def _of_rft(row: Any) -> dict[str, Any]:
    if row["messages"][-1]["role"] != "user":
        raise ValueError("a prompt for a grader ends with the user")
    told = row.get("reference_answer")
    answer = told if isinstance(told, str) else json.dumps(told)
    return {"messages": [*row["messages"], *([{"role": "assistant", "content": answer}] if told else [])]}


def _of_text(row: Any) -> dict[str, Any]:
    if row.keys() != {"input"} or not row["input"]:
        raise ValueError("an input, and nothing else, is expected")
    return {"text": row["input"]}


_READERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "converse": _of_converse,
    "prompt_completion": _of_prompt,
    "claude": _of_claude,
    "distillation": partial(_of_converse, may_be_open=True),
    "rft": _of_rft,
    "pretraining": _of_text,
}
