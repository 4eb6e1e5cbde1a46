"""Who the backend is and what it can do; imports no SDK."""

from pathlib import Path
from typing import TYPE_CHECKING

from tunebridge.backend import Backend, BackendInfo, Rehearsal
from tunebridge.capabilities import Capabilities
from tunebridge_openai.options import OpenAIOptions
from tunebridge_openai.translate import FIELDS, METHODS

if TYPE_CHECKING:
    from tunebridge.cost.bill import Billing
    from tunebridge.testing.case import BackendCase

CAPABILITIES = Capabilities(
    methods=frozenset(METHODS),
    adapters=frozenset({"lora"}),
    dataset_kinds=frozenset({"sft", "preference", "prompt_only"}),
    dataset_features=frozenset({"tools", "images", "weight", "name"}),
    fields=FIELDS,
    validation_data=True,
    cancel=True,
    pause=True,
    events=True,
    metrics=True,
    inference=True,
    deploy=True,
    list_jobs=True,
    delete=True,
    poll_seconds=15.0,
)


def _load() -> type[Backend]:
    from tunebridge_openai.backend import OpenAIBackend

    return OpenAIBackend


def _rehearse(folder: Path) -> Rehearsal:
    from tunebridge_openai.conformance import rehearse

    return rehearse(folder)


def _billing() -> "Billing":
    from tunebridge_openai.pricing import billing

    return billing()


def _conformance() -> "BackendCase":
    from tunebridge_openai.conformance import case

    return case()


INFO = BackendInfo(
    name="openai",
    title="OpenAI, Azure OpenAI and compatible servers",
    capabilities=CAPABILITIES,
    load=_load,
    extra="openai",
    requires=("openai",),
    options=OpenAIOptions,
    notice="OpenAI takes no new training jobs after 2027-01-06, and its tuned models stop answering on 2027-01-14.",
    rehearse=_rehearse,
    billing=_billing,
    conformance=_conformance,
)
