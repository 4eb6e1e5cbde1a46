"""Who the backend is and what it can do; imports no SDK."""

from pathlib import Path
from typing import TYPE_CHECKING

from tunebridge.backend import Backend, BackendInfo, Rehearsal
from tunebridge.capabilities import Capabilities
from tunebridge_azureml.options import AzureMLOptions
from tunebridge_azureml.translate import FIELDS

if TYPE_CHECKING:
    from tunebridge.cost.bill import Billing
    from tunebridge.testing.case import BackendCase

CAPABILITIES = Capabilities(
    methods=frozenset({"sft"}),
    adapters=frozenset({"lora", "full"}),
    dataset_kinds=frozenset({"sft", "text"}),
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
    deploy=True,
    poll_seconds=10.0,
)


def _load() -> type[Backend]:
    from tunebridge_azureml.backend import AzureMLBackend

    return AzureMLBackend


def _rehearse(folder: Path) -> Rehearsal:
    from tunebridge_azureml.conformance import rehearse

    return rehearse(folder)


def _billing() -> "Billing":
    from tunebridge_azureml.pricing import billing

    return billing()


def _conformance() -> "BackendCase":
    from tunebridge_azureml.conformance import case

    return case()


INFO = BackendInfo(
    name="azureml",
    title="Azure Machine Learning",
    capabilities=CAPABILITIES,
    load=_load,
    extra="azureml",
    requires=("azure.ai.ml", "azure.identity", "azure.storage.blob"),
    options=AzureMLOptions,
    rehearse=_rehearse,
    billing=_billing,
    conformance=_conformance,
)
