"""A tuning job's record -> what it tells: events in a fixed order, usage, reasons. Pure.

The service lists no events. They are read from what the record has gained, in an order in which nothing is ever put
in between, so that the number of those that were given is a cursor.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from tunebridge.job import Event, Usage

REACHED = ("PROCESSING_DATASET", "TUNING", "POST_PROCESSING")
"""Phases that every job passes, in this order."""
ENDED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_PARTIALLY_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")


def events(found: Mapping[str, Any]) -> list[Event]:
    """Return everything that a job's record tells, oldest first."""
    return list(_events(found))


def usage(found: Mapping[str, Any]) -> Usage:
    """Return the billable tokens, as the service counted them in the rows, and the time between start and end."""
    seconds = None
    if found.get("start_time") and found.get("end_time"):
        seconds = (_moment(found["end_time"]) - _moment(found["start_time"])).total_seconds()
    tokens = statistics(found).get("total_billable_token_count")
    return Usage(trained_tokens=None if tokens is None else int(tokens), training_seconds=seconds)


def failure(found: Mapping[str, Any]) -> str:
    """Return why a job failed."""
    if found["state"] == "JOB_STATE_EXPIRED":
        return "the job expired: it ran longer than the service allows"
    return str((found.get("error") or {}).get("message") or "the service gave no reason")


def statistics(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the service counted in the rows, of whichever method."""
    stats = found.get("tuning_data_stats") or {}
    counted: Mapping[str, Any] = next((one for one in stats.values() if one), {})
    return counted.get("training_dataset_stats") or counted


def _events(found: Mapping[str, Any]) -> Iterator[Event]:
    state = found["state"]
    yield _event("created", found["create_time"], "status", "the service took the job")
    if found.get("start_time"):
        yield _event("started", found["start_time"], "status", "the job started")
        yield from _progress(found)
    if state in ENDED and found.get("end_time"):
        yield from _results(found)
        kind = "error" if state == "JOB_STATE_FAILED" else "status"
        said = failure(found) if kind == "error" else state.removeprefix("JOB_STATE_").lower().replace("_", " ")
        yield _event("ended", found["end_time"], kind, said)


def _progress(found: Mapping[str, Any]) -> Iterator[Event]:
    at = min(filter(None, (found.get("update_time"), found.get("end_time"))), default=found["start_time"])
    reached = _reached(found)
    for phase in REACHED[: min(reached, 2)]:
        yield _event(f"phase-{phase.lower()}", at, "status", phase.lower().replace("_", " "))
    counted = found.get("tuning_job_metadata") or {}
    unit = "step" if found.get("reinforcement_tuning_spec") else "epoch"  # the service counts steps of that one only
    for number in range(1, int(counted.get(f"completed_{unit}_count") or 0) + 1):
        yield _event(f"{unit}-{number}", at, "progress", f"{unit} {number} is done", **{unit: number})
    if reached == len(REACHED):
        yield _event("phase-post_processing", at, "status", "post processing")


def _reached(found: Mapping[str, Any]) -> int:
    """Return how many phases have been reached."""
    if found["state"] in ("JOB_STATE_SUCCEEDED", "JOB_STATE_PARTIALLY_SUCCEEDED"):
        return len(REACHED)
    phase = str(found.get("tuning_job_state") or "").removeprefix("TUNING_JOB_STATE_")
    if phase == "WAITING_FOR_CAPACITY":
        return 1
    return REACHED.index(phase) + 1 if phase in REACHED else 0


def _results(found: Mapping[str, Any]) -> Iterator[Event]:
    at = found["end_time"]
    for one in (found.get("tuned_model") or {}).get("checkpoints") or ():
        place = {name: int(one[name]) for name in ("epoch", "step") if one.get(name) is not None}
        said = f"checkpoint {one.get('checkpoint_id')}"
        yield _event(f"checkpoint-{one.get('checkpoint_id')}", at, "checkpoint", said, **place)
    counted = statistics(found)
    if counted.get("total_billable_token_count") is not None:
        tokens, rows = int(counted["total_billable_token_count"]), counted.get("tuning_dataset_example_count")
        said = f"the service counted {tokens} billable tokens in {rows} rows"
        yield _event("billable-tokens", at, "log", said, billable_tokens=tokens)
    reasons = counted.get("dropped_example_reasons") or ()
    dropped = int(counted.get("total_truncated_example_count") or len(reasons))
    if dropped:
        indices = counted.get("truncated_example_indices") or counted.get("dropped_example_indices") or ()
        shown = ", ".join(f"row {row}: {why}" for row, why in zip(indices, reasons, strict=False))
        said = f"the service left out {dropped} rows{f' ({shown})' if shown else ''}"
        yield _event("dropped-rows", at, "warning", said, rows=dropped)


def _event(name: str, at: str, kind: str, message: str, **data: Any) -> Event:
    return Event.model_validate({"id": name, "at": _moment(at), "kind": kind, "message": message, "data": data})


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
