"""The service's states -> JobStatus and events: total tables over the job's word and those of its phases."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tunebridge.job import Event, JobStatus

STATUS: dict[str, JobStatus] = {
    "InProgress": JobStatus.queued,
    "Completed": JobStatus.succeeded,
    "Failed": JobStatus.failed,
    "Stopping": JobStatus.cancelling,
    "Stopped": JobStatus.cancelled,
}
PHASES = ("validation", "dataProcessing", "training")
BEGUN = ("InProgress", "Completed", "Stopping", "Stopped", "Failed")
"""Words of a phase that has begun; `NotStarted` is the other."""
OVER = ("Completed", "Stopped", "Failed")


def job_status(described: Mapping[str, Any]) -> JobStatus:
    """Return the JobStatus of a described job; while it is in progress its phases say how far it is."""
    status = STATUS.get(described["status"], JobStatus.unknown)
    if described["status"] != "InProgress":
        return status
    words = {phase: _phase(described, phase).get("status", "NotStarted") for phase in PHASES}
    if words["training"] in OVER:
        return JobStatus.finalizing
    if words["training"] in BEGUN:
        return JobStatus.running
    return JobStatus.preparing if any(word in BEGUN for word in words.values()) else status


def status_word(described: Mapping[str, Any]) -> str:
    """Return the service's own words for the state."""
    at_work = next((p for p in PHASES if _phase(described, p).get("status") in ("InProgress", "Stopping")), None)
    return f"{described['status']}/{at_work}" if at_work else str(described["status"])


def events(described: Mapping[str, Any]) -> list[Event]:
    """Return what happened to a job so far, in order of time: the begin and the end of each phase, and of the job."""
    found = [_event("created", described["creationTime"], "the job was created")]
    for phase in PHASES:
        details = _phase(described, phase)
        word = details.get("status", "NotStarted")
        if word in BEGUN and "creationTime" in details:
            found.append(_event(f"{phase}-begun", details["creationTime"], f"{phase} has begun"))
        if word in OVER and "lastModifiedTime" in details:
            found.append(_event(f"{phase}-over", details["lastModifiedTime"], f"{phase}: {word}"))
    if described["status"] in OVER and "endTime" in described:
        found.append(_event("ended", described["endTime"], f"the job: {described['status']}"))
    return sorted(found, key=lambda event: event.at)


def _phase(described: Mapping[str, Any], phase: str) -> dict[str, Any]:
    details: dict[str, Any] = described.get("statusDetails", {}).get(f"{phase}Details", {})
    return details


def _event(name: str, at: datetime, message: str) -> Event:
    return Event(id=name, at=at.astimezone(UTC), kind="status", message=message)
