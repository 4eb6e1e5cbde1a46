"""A submitted Plan and what it gives: Job, JobStatus, Event, Metric, Artifact, Snapshot."""

import secrets
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field

from tunebridge.spec import SpecModel


class JobStatus(StrEnum):
    """State of a job, with the same meaning on every backend."""

    submitting = "submitting"
    """Written down here; the backend may or may not have it yet."""
    queued = "queued"
    """The backend has it and waits for a machine or a slot."""
    preparing = "preparing"
    """Files are checked or a machine starts; no training yet."""
    running = "running"
    """The model is being trained."""
    paused = "paused"
    """Stopped for now with its place kept; `resume` goes on with it."""
    finalizing = "finalizing"
    """Training is over; results are being written."""
    cancelling = "cancelling"
    """Asked to stop, not stopped yet."""
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"
    unknown = "unknown"
    """The backend used a word that TuneBridge does not know; `backend_status` keeps it."""

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended; a terminal status never changes again, except by `resume`."""
        return self in TERMINAL


TERMINAL = frozenset({JobStatus.succeeded, JobStatus.failed, JobStatus.cancelled})


def now() -> datetime:
    """Return the current time, aware and in UTC."""
    return datetime.now(UTC)


def new_job_id() -> str:
    """Return a fresh job id: `tb-`, the UTC date and time, six random characters.

    Sorts by time, fits every vendor's name rules (lower case, digits and hyphens, 25 characters).
    """
    alphabet = "abcdefghjkmnpqrstuvwxyz23456789"
    return f"tb-{now():%Y%m%d-%H%M%S}-{''.join(secrets.choice(alphabet) for _ in range(6))}"


class Event(SpecModel):
    """Something that happened to a job."""

    id: str
    """Unique within the job and the same each time the backend reports it, so that none is kept twice."""
    at: AwareDatetime
    kind: Literal["status", "log", "progress", "checkpoint", "warning", "error"] = "log"
    message: str
    data: dict[str, Any] = {}
    """Details as plain JSON values, such as step, total_steps and tokens_per_second of a `progress` event."""


class Metric(SpecModel):
    """One measured value; `name` is such as `train_loss`, `validation_loss`, `learning_rate`."""

    name: str
    value: float
    step: Annotated[int, Field(ge=0)]
    at: AwareDatetime


class Artifact(SpecModel):
    """A result of a job: an adapter, merged weights or a vendor's model id."""

    kind: Literal["adapter", "model", "model_id", "checkpoint", "file"]
    uri: str
    """Where it is: a file:// or cloud storage URI, or the vendor's model id."""
    digest: str | None = None
    """`sha256:` and the hex digest of the file, or of the sorted list of files and digests for a folder."""
    size_bytes: int | None = None


class Deployment(SpecModel):
    """An endpoint at which a tuned model answers, and which bills for as long as it stands."""

    name: str
    """The endpoint's name or id at the backend."""
    is_ready: bool = False
    """Whether it answers."""
    backend_status: str = ""
    """The backend's own word for its state."""
    usd_per_hour: Decimal | None = None
    """What it costs while it stands; None where no price is known, which is not the same as nothing."""
    price_note: str = ""
    """Where the price comes from and how old it is, or why there is none."""
    since: AwareDatetime | None = None
    backend: str | None = None
    """The backend that hosts it, where another one trained the model."""
    connection: dict[str, Any] = {}
    """Where that backend is, as a job's; never a secret."""
    rehearsal: bool = False
    """Whether that backend is an emulator."""


class Usage(SpecModel):
    """What a job has used so far; None where the backend does not say."""

    trained_tokens: int | None = None
    training_seconds: float | None = None
    """Time that is counted as training, in seconds; what a vendor bills, where it says so."""


class Snapshot(SpecModel):
    """What a backend says of a job at one moment."""

    status: JobStatus
    backend_status: str
    """The backend's own word for the status."""
    cursor: str | None = None
    """Where the next poll goes on; kept together with the events, so that none is lost or repeated."""
    events: tuple[Event, ...] = ()
    metrics: tuple[Metric, ...] = ()
    usage: Usage = Usage()
    error: str | None = None
    """Why a failed job failed, for people."""


class Job(SpecModel):
    """A job as the store knows it; each change is a new value."""

    id: str
    backend: str
    base_model: str
    plan_digest: str
    data_fingerprint: str
    train_fingerprint: str = ""
    validation_fingerprint: str = ""
    """Of each split, so that an evaluation can prove which rows it saw; empty where no rows are held out."""
    folder: Path
    """The job's own folder: the staged rows and what the backend keeps here; readable by the owner only."""
    status: JobStatus = JobStatus.submitting
    created_at: AwareDatetime
    updated_at: AwareDatetime
    name: str | None = None
    backend_id: str | None = None
    """The backend's own id, once it is known."""
    backend_status: str | None = None
    started_at: AwareDatetime | None = None
    """When it was first seen preparing or running."""
    finished_at: AwareDatetime | None = None
    error: str | None = None
    attempts: int = 0
    """Create calls that were begun; above zero without a backend_id the outcome is unknown: `find` first."""
    connection: dict[str, Any] = {}
    """Where the job was sent (service, address, region, project), as its plan says; never a secret."""
    cursor: str | None = None
    usage: Usage = Usage()
    deployment: Deployment | None = None
    """The endpoint that was made for the tuned model; written down before it is asked for, gone when it is removed."""
    rehearsal: bool = False
    """Whether it ran against the backend's emulator instead of the real service."""
    metadata: dict[str, str] = {}
