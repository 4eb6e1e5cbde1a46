"""The emulator's records in the service's own shape, and how a tuning job moves from state to state."""

import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunebridge.backend import Generation
from tunebridge.errors import TuneBridgeError
from tunebridge.job import Job, JobStatus
from tunebridge.testing.wire import Response
from tunebridge.testing.workshop import Workshop
from tunebridge_vertexai.emulated_rows import READ, canonical
from tunebridge_vertexai.validation import problem_of_rows

ENDED = frozenset(f"JOB_STATE_{word}" for word in ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED"))
PRIVATE = ("workshop_id", "broken", "partial")
SPECS = {"supervisedTuningSpec": "sft", "preferenceOptimizationSpec": "dpo"}
"""Specs that the emulator really trains, and the method that each stands for."""
REAL_REGION = "us-central1"
"""Where a job that was sent to `global` runs."""
WORDS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
WORDS |= {429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}
Read = Callable[[str], bytes | None]


def now() -> str:
    """Return the time as the service writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def error(status: int, message: str, **headers: str) -> Response:
    """Return an error as Google words it."""
    said = {"code": status, "message": message, "status": WORDS.get(status, "UNKNOWN")}
    return Response({"error": said}, status=status, headers=headers)


FAULT_RESPONSES = {
    "bad_credentials": error(401, "Request had invalid authentication credentials."),
    "quota": error(429, "Quota exceeded for aiplatform.googleapis.com/global_concurrent_tuning_jobs."),
    "rate_limited": error(429, "Quota exceeded for requests per minute. Try again later.", **{"retry-after": "0.05"}),
    "sdk_error": Response({"strange": True}, status=418),
    "unavailable_before": error(503, "The service is currently unavailable."),
    "unavailable_after": error(504, "Deadline exceeded."),
}


def job_record(name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tuning job that was just accepted."""
    at = now()
    times = {"createTime": at, "updateTime": at}
    return {"name": name, "state": "JOB_STATE_QUEUED", **times, **asked, "workshop_id": None}


def public(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the service shows of a job."""
    return {name: value for name, value in job.items() if name not in PRIVATE}


def method_of(job: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """Return the method and its spec, None where the emulator cannot train it."""
    return next(((method, job[spec]) for spec, method in SPECS.items() if spec in job), None)


def kind_of_rows(job: Mapping[str, Any]) -> str:
    """Return which rows a job's files must hold."""
    if "outputUri" in job:
        return "open_models"
    return "preference" if "preferenceOptimizationSpec" in job else "gemini"


def move(job: dict[str, Any], workshop: Workshop, read: Read) -> dict[str, Any]:
    """Return a job one look later."""
    if job["state"] in ENDED:
        return job
    if job.get("broken"):
        if job["workshop_id"]:
            workshop.stop(job["workshop_id"])
        return _ended(job, "FAILED", "Internal error occurred. Please retry in a few minutes.")
    if job["state"] == "JOB_STATE_QUEUED":
        return _moved(job, state="JOB_STATE_PENDING")
    if job["state"] == "JOB_STATE_PENDING":
        phase = "TUNING_JOB_STATE_PROCESSING_DATASET"
        return _moved(job, state="JOB_STATE_RUNNING", startTime=now(), tuningJobState=phase)
    return _trained(job, workshop, read)


def cancelled(job: dict[str, Any], workshop: Workshop) -> dict[str, Any]:
    """Return a job after it was asked to stop."""
    if job["workshop_id"]:
        workshop.stop(job["workshop_id"])
    return _moved(job, state="JOB_STATE_CANCELLING")


def answer(generated: Generation) -> dict[str, Any]:
    """Return an answer as generateContent gives it."""
    reason = {"stop": "STOP", "length": "MAX_TOKENS"}.get(generated.finish_reason, "OTHER")
    content = {"role": "model", "parts": [{"text": generated.output}]}
    used = {"promptTokenCount": 0, "candidatesTokenCount": generated.tokens or 0}
    return {"candidates": [{"content": content, "finishReason": reason, "index": 0}], "usageMetadata": used}


def _trained(job: dict[str, Any], workshop: Workshop, read: Read) -> dict[str, Any]:
    if job["state"] == "JOB_STATE_CANCELLING":
        seen = workshop.look(job["workshop_id"]).status if job["workshop_id"] else JobStatus.cancelled
        return _ended(job, "CANCELLED", None) if seen.is_terminal else job
    if job["workshop_id"] is None:
        return _started(job, workshop, read)
    seen_job = workshop.look(job["workshop_id"])
    if seen_job.status == JobStatus.failed:
        return _ended(job, "FAILED", seen_job.error or "The job failed.")
    if seen_job.status != JobStatus.succeeded:
        return _moved(job, tuningJobMetadata={"completedEpochCount": str(_epochs(job, workshop))})
    if job["tuningJobState"] != "TUNING_JOB_STATE_POST_PROCESSING":
        counted = {"completedEpochCount": str(_epochs(job, workshop))}
        return _moved(job, tuningJobState="TUNING_JOB_STATE_POST_PROCESSING", tuningJobMetadata=counted)
    return _succeeded(job, seen_job, workshop)


def _started(job: dict[str, Any], workshop: Workshop, read: Read) -> dict[str, Any]:
    """Read the uploaded rows and begin to train, or fail the job as the service does."""
    method, spec = method_of(job) or ("", {})
    check, convert = READ[kind_of_rows(job)]
    texts = {}
    for part in ("training", "validation"):
        if uri := spec.get(f"{part}DatasetUri"):
            text = read(uri)
            if text is None:
                return _ended(job, "FAILED", f"Failed to read {uri}: no such object.")
            if wrong := problem_of_rows(text, check):
                return _ended(job, "FAILED", f"Dataset {uri} is invalid. {wrong}")
            texts[part] = canonical(text, convert)
    name = job["name"].rsplit("/", 1)[1]
    try:
        started = workshop.start(name, texts["training"], texts.get("validation"), **_fields(method, spec))
    except TuneBridgeError as refused:
        return _ended(job, "FAILED", str(refused))
    return _moved(job, workshop_id=started, tuningJobState="TUNING_JOB_STATE_TUNING")


def _fields(method: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the job asks for as sections of a JobSpec; the emulator's small model keeps its own rates."""
    asked = spec.get("hyperParameters") or {}
    hyperparameters = {"epochs": int(asked.get("epochCount") or 3), "batch_size": int(asked.get("batchSize") or 16)}
    adapter = {"type": "full" if spec.get("tuningMode") == "TUNING_MODE_FULL" else "lora"}
    beta = {"beta": asked["beta"]} if "beta" in asked else {}
    return {"hyperparameters": hyperparameters, "method": {"type": method, "adapter": adapter, **beta}}


def _epochs(job: Mapping[str, Any], workshop: Workshop) -> int:
    """Return how many epochs are complete, by the share of the steps that is done."""
    steps = [event.data for event in workshop.events(job["workshop_id"]) if event.kind == "progress"]
    _, spec = method_of(job) or ("", {})
    epochs = int((spec.get("hyperParameters") or {}).get("epochCount") or 3)
    return int(epochs * steps[-1]["step"] / steps[-1]["total_steps"]) if steps else 0


def _succeeded(job: dict[str, Any], seen: Job, workshop: Workshop) -> dict[str, Any]:
    ended = _ended(job, "PARTIALLY_SUCCEEDED" if job.get("partial") else "SUCCEEDED", None)
    counted = {"totalBillableTokenCount": str(seen.usage.trained_tokens or 0)}
    method, _ = method_of(job) or ("sft", {})
    stats = {"sft": "supervisedTuningDataStats", "dpo": "preferenceOptimizationDataStats"}[method]
    ended["tuningDataStats"] = {stats: counted}
    if "outputUri" in job:
        return ended
    parent, identifier = job["name"].split("/tuningJobs/")
    endpoint = f"{parent}/endpoints/{identifier}"
    step = max(metric.step for metric in workshop.metrics(job["workshop_id"]))
    last = {"checkpointId": "1", "epoch": str(_epochs(job, workshop)), "step": str(step), "endpoint": endpoint}
    ended["tunedModel"] = {"model": f"{parent}/models/{identifier}@1", "endpoint": endpoint, "checkpoints": [last]}
    return ended


def _ended(job: dict[str, Any], word: str, message: str | None) -> dict[str, Any]:
    said = {"error": {"code": 13, "message": message}} if message else {}
    ended = {name: value for name, value in job.items() if name != "tuningJobState"}
    return {**_moved(ended, state=f"JOB_STATE_{word}"), "endTime": now(), **said}


def _moved(job: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**job, **changes, "updateTime": now()}


def new_name(project: str, location: str) -> str:
    """Return the resource name of a new tuning job; one sent to `global` lies in a real region."""
    place = REAL_REGION if location == "global" else location
    return f"projects/{project}/locations/{place}/tuningJobs/{secrets.randbelow(9 * 10**18) + 10**18}"


def files_below(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder by its name there."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
