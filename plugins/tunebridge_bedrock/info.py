"""Who the backend is and what it can do; imports no SDK."""

from pathlib import Path
from typing import TYPE_CHECKING

from tunebridge.backend import Backend, BackendInfo, Rehearsal
from tunebridge.capabilities import Capabilities
from tunebridge_bedrock.options import BedrockOptions
from tunebridge_bedrock.translate import FIELDS, METHODS

if TYPE_CHECKING:
    from tunebridge.cost.bill import Billing
    from tunebridge.testing.case import BackendCase

CAPABILITIES = Capabilities(
    methods=frozenset(METHODS),
    adapters=frozenset({"lora"}),
    dataset_kinds=frozenset({"sft", "prompt_only", "text"}),
    fields=FIELDS,
    validation_data=True,
    cancel=True,
    events=True,
    metrics=True,
    inference=True,
    deploy=True,
    list_jobs=True,
    delete=True,
    poll_seconds=30.0,
)


def _load() -> type[Backend]:
    from tunebridge_bedrock.backend import BedrockBackend

    return BedrockBackend


def _rehearse(folder: Path) -> Rehearsal:
    from tunebridge_bedrock.conformance import rehearse

    return rehearse(folder)


def _billing() -> "Billing":
    from tunebridge_bedrock.pricing import billing

    return billing()


def _conformance() -> "BackendCase":
    from tunebridge_bedrock.conformance import case

    return case()


INFO = BackendInfo(
    name="bedrock",
    title="Amazon Bedrock",
    capabilities=CAPABILITIES,
    load=_load,
    extra="bedrock",
    requires=("boto3",),
    options=BedrockOptions,
    rehearse=_rehearse,
    billing=_billing,
    conformance=_conformance,
)
