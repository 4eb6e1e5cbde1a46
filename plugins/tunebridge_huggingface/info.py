"""Who the backend is and what it can do; imports no SDK."""

from pathlib import Path
from typing import TYPE_CHECKING

from tunebridge.backend import Backend, BackendInfo, Rehearsal
from tunebridge.capabilities import Capabilities
from tunebridge.training.translate import METHODS, ROW_KINDS
from tunebridge_huggingface.options import HuggingFaceOptions
from tunebridge_huggingface.translate import FIELDS

if TYPE_CHECKING:
    from tunebridge.cost.bill import Billing
    from tunebridge.testing.case import BackendCase

CAPABILITIES = Capabilities(
    methods=frozenset(METHODS),
    adapters=frozenset({"lora", "rslora", "dora", "full"}),
    dataset_kinds=ROW_KINDS,
    dataset_features=frozenset({"tools", "weight", "name"}),
    fields=FIELDS,
    validation_data=True,
    cancel=True,
    events=True,
    metrics=True,
    inference=True,
    download=True,
    list_jobs=True,
    delete=True,
    poll_seconds=15.0,
)


def _load() -> type[Backend]:
    from tunebridge_huggingface.backend import HuggingFaceBackend

    return HuggingFaceBackend


def _rehearse(folder: Path) -> Rehearsal:
    from tunebridge_huggingface.conformance import rehearse

    return rehearse(folder)


def _billing() -> "Billing":
    from tunebridge_huggingface.pricing import billing

    return billing()


def _conformance() -> "BackendCase":
    from tunebridge_huggingface.conformance import case

    return case()


INFO = BackendInfo(
    name="huggingface",
    title="Hugging Face Jobs",
    capabilities=CAPABILITIES,
    load=_load,
    extra="huggingface",
    requires=("huggingface_hub",),
    options=HuggingFaceOptions,
    rehearse=_rehearse,
    billing=_billing,
    conformance=_conformance,
)
