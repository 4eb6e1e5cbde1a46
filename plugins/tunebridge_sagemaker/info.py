"""Who the backend is and what it can do; imports no SDK."""

from pathlib import Path
from typing import TYPE_CHECKING

from tunebridge.backend import Backend, BackendInfo, Rehearsal
from tunebridge.capabilities import Capabilities
from tunebridge.training.translate import METHODS, ROW_KINDS
from tunebridge_sagemaker.options import SageMakerOptions
from tunebridge_sagemaker.translate import FIELDS

if TYPE_CHECKING:
    from tunebridge.cost.bill import Billing
    from tunebridge.testing.case import BackendCase

CAPABILITIES = Capabilities(
    methods=frozenset({*METHODS, "reinforcement"}),
    adapters=frozenset({"lora", "rslora", "dora", "full"}),
    dataset_kinds=ROW_KINDS | {"prompt_only"},
    dataset_features=frozenset({"tools", "weight", "name"}),
    fields=FIELDS,
    validation_data=True,
    cancel=True,
    events=True,
    metrics=True,
    inference=True,
    deploy=True,
    download=True,
    list_jobs=True,
    delete=True,
    poll_seconds=20.0,
)


def _load() -> type[Backend]:
    from tunebridge_sagemaker.backend import SageMakerBackend

    return SageMakerBackend


def _rehearse(folder: Path) -> Rehearsal:
    from tunebridge_sagemaker.conformance import rehearse

    return rehearse(folder)


def _billing() -> "Billing":
    from tunebridge_sagemaker.pricing import billing

    return billing()


def _conformance() -> "BackendCase":
    from tunebridge_sagemaker.conformance import case

    return case()


INFO = BackendInfo(
    name="sagemaker",
    title="Amazon SageMaker",
    capabilities=CAPABILITIES,
    load=_load,
    extra="sagemaker",
    requires=("boto3",),
    options=SageMakerOptions,
    rehearse=_rehearse,
    billing=_billing,
    conformance=_conformance,
)
