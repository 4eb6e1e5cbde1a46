"""Who the backend is and what it can do; imports no SDK."""

from pathlib import Path
from typing import TYPE_CHECKING

from tunebridge.backend import Backend, BackendInfo, Rehearsal
from tunebridge.capabilities import Capabilities
from tunebridge_ray.options import RayOptions
from tunebridge_ray.translate import FIELDS

if TYPE_CHECKING:
    from tunebridge.testing.case import BackendCase

CAPABILITIES = Capabilities(
    methods=frozenset({"sft", "dpo"}),
    adapters=frozenset({"lora", "rslora", "dora", "qlora", "full"}),
    dataset_kinds=frozenset({"sft", "text", "preference"}),
    dataset_features=frozenset({"tools", "weight", "name"}),
    fields=FIELDS,
    validation_data=True,
    cancel=True,
    events=True,
    metrics=True,
    resume=True,
    inference=True,
    download=True,
    list_jobs=True,
    delete=True,
    poll_seconds=3.0,
)


def _load() -> type[Backend]:
    from tunebridge_ray.backend import RayBackend

    return RayBackend


def _rehearse(folder: Path) -> Rehearsal:
    from tunebridge_ray.conformance import rehearse

    return rehearse(folder)


def _conformance() -> "BackendCase":
    from tunebridge_ray.conformance import case

    return case()


INFO = BackendInfo(
    name="ray",
    title="A Ray cluster (Ray Train)",
    capabilities=CAPABILITIES,
    load=_load,
    extra="ray",
    requires=("ray", "fsspec"),
    options=RayOptions,
    rehearse=_rehearse,
    conformance=_conformance,
)
