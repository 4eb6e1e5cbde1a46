"""What a backend can do: one record, used to plan, to print the docs table and to select conformance tests."""

from datetime import date
from typing import Any, Literal

from tunebridge.data.example import Feature, Kind
from tunebridge.spec import SpecModel

AdapterType = Literal["lora", "rslora", "dora", "qlora", "full"]


class Capabilities(SpecModel):
    """What a backend can do; planning, the docs table and the conformance suite all read it."""

    methods: frozenset[str]
    """Values of `method.type` that it can run."""
    adapters: frozenset[AdapterType]
    """Values of `method.adapter.type` that it can train."""
    dataset_kinds: frozenset[Kind]
    """Kinds of rows that it can take."""
    fields: frozenset[str]
    """Spec fields that it understands, exactly or converted; any other field that a user sets is refused."""
    dataset_features: frozenset[Feature] = frozenset()
    """Parts of a row beyond role and text that it can take without loss."""
    validation_data: bool = False
    cancel: bool = False
    events: bool = False
    metrics: bool = False
    pause: bool = False
    """Whether a running job can be stopped for now; `resume` then goes on with it."""
    resume: bool = False
    """Whether a job that failed or was cancelled can go on from its last checkpoint."""
    inference: bool = False
    """Whether `generate` asks the tuned model."""
    deploy: bool = False
    """Whether endpoints for tuned models are made and removed; `Backend.needs_endpoint` says which jobs need one."""
    download: bool = False
    list_jobs: bool = False
    delete: bool = False
    find_lag_seconds: float = 0.0
    """How long a job that was created may stay invisible to `find`; reconciling waits that long."""
    poll_seconds: float = 10.0
    """Time between two polls of a job that is not changing."""
    orderable_until: date | None = None
    """Last day on which the service accepts new jobs, where it has said so."""
    shutdown_on: date | None = None
    """Day on which the service ends, where it has said so."""


def either(*offers: Capabilities) -> Capabilities:
    """Return what at least one of several modes of a backend offers; the plan refuses what the chosen one does not."""
    found: dict[str, Any] = {}
    for name in Capabilities.model_fields:
        values = [getattr(offer, name) for offer in offers]
        first = values[0]
        if isinstance(first, frozenset):
            found[name] = frozenset[Any]().union(*values)
        elif isinstance(first, bool):
            found[name] = any(values)
        elif name == "poll_seconds":
            found[name] = min(values)
        elif name == "find_lag_seconds":
            found[name] = max(values)
        else:
            found[name] = first if all(value == first for value in values) else None
    return Capabilities(**found)
