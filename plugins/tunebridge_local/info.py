"""Who the backend is and what it can do; imports no torch."""

from typing import TYPE_CHECKING

from tunebridge.backend import Backend, BackendInfo
from tunebridge.capabilities import Capabilities
from tunebridge.training.options import TrainerOptions
from tunebridge.training.translate import FIELDS, METHODS, ROW_KINDS

if TYPE_CHECKING:
    from tunebridge.cost.bill import Billing
    from tunebridge.testing.case import BackendCase

CAPABILITIES = Capabilities(
    methods=frozenset(METHODS),
    adapters=frozenset({"lora", "rslora", "dora", "qlora", "full"}),
    dataset_kinds=ROW_KINDS,
    dataset_features=frozenset({"tools", "weight", "name"}),
    fields=FIELDS | {"budget.max_usd", *(f"options.local.{name}" for name in TrainerOptions.model_fields)},
    validation_data=True,
    cancel=True,
    events=True,
    metrics=True,
    resume=True,
    inference=True,
    download=True,
    delete=True,
    poll_seconds=1.0,
)


def _load() -> type[Backend]:
    from tunebridge_local.backend import LocalBackend

    return LocalBackend


def _billing() -> "Billing":
    from tunebridge_local.pricing import billing

    return billing()


def _conformance() -> "BackendCase":
    from tunebridge_local.conformance import case

    return case()


INFO = BackendInfo(
    name="local",
    title="This machine (PyTorch and PEFT)",
    capabilities=CAPABILITIES,
    load=_load,
    extra="local",
    requires=("torch", "transformers", "peft", "psutil"),
    options=TrainerOptions,
    billing=_billing,
    conformance=_conformance,
)
