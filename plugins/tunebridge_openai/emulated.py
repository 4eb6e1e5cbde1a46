"""The emulator's records in the service's own shape, and how a job moves from state to state."""

import csv
import io
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tunebridge.backend import Generation
from tunebridge.errors import TuneBridgeError
from tunebridge.job import Event, Job, JobStatus
from tunebridge.testing.wire import Response
from tunebridge.testing.workshop import Workshop
from tunebridge_openai.validation import MIN_ROWS, problem_of_rows

ENDED = ("succeeded", "failed", "cancelled")
PRIVATE = ("workshop_id", "log", "broken", "asked_to")
WORDS = {
    JobStatus.submitting: "queued",
    JobStatus.queued: "queued",
    JobStatus.preparing: "queued",
    JobStatus.succeeded: "succeeded",
    JobStatus.failed: "failed",
    JobStatus.cancelled: "cancelled",
}
"""The workshop's status -> the service's word; any other is `running`."""
CSV_COLUMNS = {"train_loss": "train_loss", "validation_loss": "valid_loss"}
DEPLOYMENT_TYPE = "Microsoft.CognitiveServices/accounts/deployments"
DEPLOYMENT_SKUS = ("Standard", "GlobalStandard", "developertier")
MAKERS = ("OpenAI", "Microsoft", "Mistral AI", "Meta", "Alibaba")
DEFAULTS = {"n_epochs": 3, "batch_size": 16}
"""What `auto` becomes; the service decides by the data and does not say how."""


def now() -> int:
    """Return the time in seconds, as the service writes it."""
    return int(time.time())


def error(status: int, message: str, *, code: str | None = None, param: str | None = None, **headers: str) -> Response:
    """Return an error as the service words it."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    said = {"message": message, "type": kind, "param": param, "code": code}
    return Response({"error": said}, status=status, headers={"x-request-id": f"req_{status}", **headers})


FAULT_RESPONSES = {
    "bad_credentials": error(401, "Incorrect API key provided.", code="invalid_api_key"),
    "quota": error(429, "You exceeded your current quota.", code="insufficient_quota"),
    "rate_limited": error(429, "Rate limit reached.", code="rate_limit_exceeded", **{"retry-after-ms": "50"}),
    "training_closed": error(403, "OpenAI is winding down the fine-tuning platform.", code="training_not_available"),
    "sdk_error": Response({"strange": True}, status=418),
    "unavailable_before": error(503, "The server is overloaded."),
    "unavailable_after": error(504, "The gateway timed out."),
}


def file_record(identifier: str, name: str, size: int) -> dict[str, Any]:
    """Return an uploaded file."""
    known = {"id": identifier, "object": "file", "filename": name, "bytes": size}
    return {**known, "purpose": "fine-tune", "status": "processed", "created_at": now()}


def upload_record(identifier: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return an upload that has begun."""
    known = {name: asked[name] for name in ("bytes", "filename", "purpose")}
    return {
        "id": identifier,
        "object": "upload",
        "status": "pending",
        "created_at": now(),
        "expires_at": now(),
        **known,
    }


def model_record(name: str, shutdown_date: str | None) -> dict[str, Any]:
    """Return a model."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "emulator", "shutdown_date": shutdown_date}


def job_record(identifier: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job that was just accepted."""
    kept = {name: asked.get(name) for name in ("model", "training_file", "validation_file", "metadata", "method")}
    return {
        "id": identifier,
        "object": "fine_tuning.job",
        "created_at": now(),
        "organization_id": "org-emulator",
        "status": "validating_files",
        "hyperparameters": {},
        "seed": asked.get("seed") or 0,
        "suffix": asked.get("suffix"),
        **dict.fromkeys(("error", "fine_tuned_model", "finished_at", "trained_tokens")),
        "result_files": [],
        "integrations": [],
        **kept,
        "workshop_id": None,
        "log": [[now(), "info", f"Created fine-tuning job: {identifier}"]],
    }


def public(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the service shows of a job."""
    return {name: value for name, value in job.items() if name not in PRIVATE}


def move(job: dict[str, Any], workshop: Workshop, content: Callable[[str], Path]) -> dict[str, Any]:
    """Return a job one look later; `result` holds the result file's text when it has just succeeded."""
    if job["status"] in ENDED or job["status"] == "paused":
        return job
    if job.get("broken"):
        if job["workshop_id"]:
            workshop.stop(job["workshop_id"])
        return _ended(job, "failed", "The job failed due to an internal error.", code="internal_error")
    if job["workshop_id"] is None:
        return _started(job, workshop, content)
    seen = workshop.look(job["workshop_id"])
    if seen.status == JobStatus.cancelled and job.get("asked_to") == "pause":
        return {**job, "status": "paused"}
    word = WORDS.get(seen.status, "running")
    if word == "failed":
        return _ended(job, "failed", seen.error or "The job failed.", code="training_failed")
    return _succeeded(job, seen, workshop) if word == "succeeded" else _moved(job, word)


def act(job: dict[str, Any], verb: str, workshop: Workshop) -> dict[str, Any]:
    """Return a job after it was asked to cancel, pause or resume."""
    if verb == "resume":
        if job["workshop_id"] and job["status"] == "paused":
            workshop.resume(job["workshop_id"])
        return {**job, "status": "queued", "asked_to": None}
    if job["workshop_id"]:
        workshop.stop(job["workshop_id"])
    if verb == "pause":
        return {**job, "asked_to": "pause", "status": "pausing" if job["workshop_id"] else "paused"}
    return _ended(job, "cancelled", None)


def events(job: Mapping[str, Any], workshop: Workshop) -> list[dict[str, Any]]:
    """Return the job's events, oldest first: the service's own and, by step, what the workshop measured."""
    own = [_event(job, number, *line) for number, line in enumerate(job["log"])]
    if not job["workshop_id"]:
        return own
    steps = [event for event in workshop.events(job["workshop_id"]) if event.kind == "progress"]
    measured = [_step_event(job, event) for event in steps]
    ending = [event for event in own if event["created_at"] >= (job["finished_at"] or 2**60)]
    return [*(event for event in own if event not in ending), *measured, *ending]


def checkpoints(job: Mapping[str, Any], workshop: Workshop) -> list[dict[str, Any]]:
    """Return the checkpoint at the job's end, which is the tuned model itself."""
    if job["status"] != "succeeded":
        return []
    last = {metric.name: metric for metric in workshop.metrics(job["workshop_id"])}
    step = max(metric.step for metric in last.values())
    measured = {theirs: last[ours].value for ours, theirs in CSV_COLUMNS.items() if ours in last}
    return [
        {
            "id": f"ftckpt-{job['id']}",
            "object": "fine_tuning.job.checkpoint",
            "created_at": job["finished_at"],
            "fine_tuned_model_checkpoint": job["fine_tuned_model"],
            "fine_tuning_job_id": job["id"],
            "step_number": step,
            "metrics": {"step": step, **measured},
        }
    ]


def deployment_record(name: str, sku: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deployment that was just accepted."""
    properties = {"model": dict(model), "provisioningState": "Creating"}
    return {"name": name, "type": DEPLOYMENT_TYPE, "sku": dict(sku), "properties": properties}


def problem_of_deployment(query: Mapping[str, str], asked: Mapping[str, Any], models: Mapping[str, str]) -> str | None:
    """Return why the resource manager would refuse a deployment, None where it would accept it."""
    sku, model = asked.get("sku") or {}, asked.get("properties", {}).get("model") or {}
    if "api-version" not in query:
        return "The api-version query parameter is required."
    if sku.get("name") not in DEPLOYMENT_SKUS or not isinstance(sku.get("capacity"), int):
        return "The sku is not supported."
    if model.get("format") not in MAKERS or "version" not in model or model.get("name") not in models:
        return "The specified model is not available in this account."
    return None


def completion(model: str, answer: Generation) -> dict[str, Any]:
    """Return an answer as a chat completion."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": answer.output},
        "finish_reason": answer.finish_reason,
    }
    used = {"prompt_tokens": 0, "completion_tokens": answer.tokens or 0, "total_tokens": answer.tokens or 0}
    known = {"id": "chatcmpl-emulator", "object": "chat.completion", "created": now(), "model": model}
    return {**known, "choices": [choice], "usage": used}


def _started(job: dict[str, Any], workshop: Workshop, content: Callable[[str], Path]) -> dict[str, Any]:
    """Read the uploaded rows and begin to train, or fail the job as the service does."""
    files = {part: job[f"{part}_file"] for part in ("training", "validation") if job[f"{part}_file"]}
    texts = {part: content(identifier).read_bytes() for part, identifier in files.items()}
    for part, text in texts.items():
        if problem := problem_of_rows(text, job["method"]["type"], MIN_ROWS if part == "training" else 1):
            return _ended(job, "failed", problem, code=f"invalid_{part}_file", param=f"{part}_file")
    try:
        started = workshop.start(job["id"], texts["training"], texts.get("validation"), **_fields(job))
    except TuneBridgeError as error:
        return _ended(job, "failed", str(error), code="invalid_training_file", param="training_file")
    job["log"] += [[now(), "info", "Files validated, moving job to queued state"], [now(), "info", "Job started."]]
    return {**job, "status": "queued", "workshop_id": started}


def _fields(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the job asks for as sections of a JobSpec."""
    method = job["method"]
    asked = {k: v for k, v in method.get(method["type"], {}).get("hyperparameters", {}).items() if v != "auto"}
    known = {**DEFAULTS, **asked}
    hyperparameters = {"epochs": known["n_epochs"], "batch_size": known["batch_size"], "seed": job["seed"]}
    words = {"supervised": "sft", "dpo": "dpo"}
    beta = {"beta": known["beta"]} if "beta" in known else {}
    return {"hyperparameters": hyperparameters, "method": {"type": words[method["type"]], **beta}}


def _moved(job: dict[str, Any], word: str) -> dict[str, Any]:
    return {**job, "status": "pausing" if job.get("asked_to") == "pause" else word}


def _succeeded(job: dict[str, Any], seen: Job, workshop: Workshop) -> dict[str, Any]:
    suffix = job["suffix"] or ""
    model = f"ft:{job['model']}:org-emulator:{suffix}:{job['id'].removeprefix('ftjob-')[:8]}"
    job = _ended(job, "succeeded", None)
    job["log"] += [[now(), "info", f"New fine-tuned model created: {model}"], [now(), "info", "The job has succeeded"]]
    tokens = seen.usage.trained_tokens
    return {**job, "fine_tuned_model": model, "trained_tokens": tokens, "result": _result_file(job, workshop)}


def _ended(job: dict[str, Any], word: str, message: str | None, **details: str) -> dict[str, Any]:
    said = {"message": message, "code": details.get("code"), "param": details.get("param")} if message else None
    log = [*job["log"], [now(), "error", message]] if message else job["log"]
    return {**job, "status": word, "finished_at": now(), "error": said, "log": log}


def _result_file(job: Mapping[str, Any], workshop: Workshop) -> str:
    rows: dict[int, dict[str, float]] = {}
    for metric in workshop.metrics(job["workshop_id"]):
        if metric.name in CSV_COLUMNS:
            rows.setdefault(metric.step, {})[CSV_COLUMNS[metric.name]] = metric.value
    text = io.StringIO()
    writer = csv.DictWriter(text, ["step", *CSV_COLUMNS.values()], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"step": step, **values} for step, values in sorted(rows.items()))
    return text.getvalue()


def _event(job: Mapping[str, Any], number: int, at: int, level: str, message: str) -> dict[str, Any]:
    known = {"id": f"ftevent-{job['id']}-{number:04d}", "object": "fine_tuning.job.event", "created_at": at}
    return {**known, "level": level, "message": message, "type": "message", "data": None}


def _step_event(job: Mapping[str, Any], event: Event) -> dict[str, Any]:
    step, total, loss = event.data["step"], event.data["total_steps"], event.data["loss"]
    return {
        "id": f"ftevent-{job['id']}-step-{step}",
        "object": "fine_tuning.job.event",
        "created_at": int(event.at.timestamp()),
        "level": "info",
        "message": f"Step {step}/{total}: training loss={loss:.2f}",
        "type": "metrics",
        "data": json.loads(json.dumps({"step": step, "total_steps": total, "train_loss": loss})),
    }
