"""Who the backend is and what it can do; imports no SDK."""

from pathlib import Path
from typing import TYPE_CHECKING

from tunebridge.backend import Backend, BackendInfo, Rehearsal
from tunebridge.capabilities import Capabilities
from tunebridge_gradient.options import GradientOptions
from tunebridge_gradient.translate import FIELDS

if TYPE_CHECKING:
    from tunebridge.cost.bill import Billing
    from tunebridge.testing.case import BackendCase

CAPABILITIES = Capabilities(
    methods=frozenset({"sft"}),
    adapters=frozenset({"lora"}),
    dataset_kinds=frozenset({"sft", "text"}),
    dataset_features=frozenset({"weight"}),
    fields=FIELDS,
    cancel=True,
    events=True,
    metrics=True,
    resume=True,
    inference=True,
    list_jobs=True,
    delete=True,
    poll_seconds=2.0,
)


def _load() -> type[Backend]:
    from tunebridge_gradient.backend import GradientBackend

    return GradientBackend


def _rehearse(folder: Path) -> Rehearsal:
    from tunebridge_gradient.conformance import rehearse

    return rehearse(folder)


def _billing() -> "Billing":
    from tunebridge_gradient.pricing import billing

    return billing()


def _conformance() -> "BackendCase":
    from tunebridge_gradient.conformance import case

    return case()


INFO = BackendInfo(
    name="gradient",
    title="Gradient.AI (legacy)",
    capabilities=CAPABILITIES,
    load=_load,
    extra="gradient",
    requires=("gradientai",),
    options=GradientOptions,
    notice=(
        "Gradient.AI closed its self-serve platform in 2024; this works against a host that you configure. "
        "It is not DigitalOcean's product of the same name."
    ),
    rehearse=_rehearse,
    billing=_billing,
    conformance=_conformance,
)
