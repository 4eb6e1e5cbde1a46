"""Who the backend is and what it can do; imports no SDK."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tunebridge.backend import Backend, BackendInfo, Rehearsal
from tunebridge.capabilities import Capabilities, either
from tunebridge.training.translate import METHODS, ROW_KINDS
from tunebridge_vertexai.custom_job import FIELDS as CUSTOM_FIELDS
from tunebridge_vertexai.models import Profile
from tunebridge_vertexai.options import VertexAIOptions
from tunebridge_vertexai.translate import GEMINI_FIELDS, OPEN_FIELDS

if TYPE_CHECKING:
    from tunebridge.cost.bill import Billing
    from tunebridge.testing.case import BackendCase

OPTIONS = frozenset(f"options.vertexai.{name}" for name in VertexAIOptions.model_fields)
GEMINI = Capabilities(
    methods=frozenset({"sft", "dpo", "distillation", "reinforcement"}),
    adapters=frozenset({"lora"}),
    dataset_kinds=frozenset({"sft", "preference", "prompt_only"}),
    dataset_features=frozenset({"tools", "images"}),
    fields=GEMINI_FIELDS | OPTIONS,
    validation_data=True,
    cancel=True,
    events=True,
    inference=True,
    list_jobs=True,
    poll_seconds=30.0,
)
OPEN_MODELS = Capabilities(
    methods=frozenset({"sft"}),
    adapters=frozenset({"lora", "full"}),
    dataset_kinds=frozenset({"sft"}),
    fields=OPEN_FIELDS | OPTIONS,
    validation_data=True,
    cancel=True,
    events=True,
    download=True,
    list_jobs=True,
    poll_seconds=30.0,
)
CUSTOM_JOB = Capabilities(
    methods=frozenset(METHODS),
    adapters=frozenset({"lora", "rslora", "dora", "full"}),
    dataset_kinds=ROW_KINDS,
    dataset_features=frozenset({"tools", "weight", "name"}),
    fields=CUSTOM_FIELDS | OPTIONS,
    validation_data=True,
    cancel=True,
    events=True,
    metrics=True,
    inference=True,
    download=True,
    list_jobs=True,
    delete=True,
    poll_seconds=20.0,
)
PROFILES: Mapping[Profile, Capabilities] = {
    "gemini": GEMINI,
    "open_models": OPEN_MODELS,
    "custom_job": CUSTOM_JOB,
}


def _load() -> type[Backend]:
    from tunebridge_vertexai.backend import VertexAIBackend

    return VertexAIBackend


def _rehearse(folder: Path) -> Rehearsal:
    from tunebridge_vertexai.conformance import rehearse

    return rehearse(folder)


def _billing() -> "Billing":
    from tunebridge_vertexai.pricing import billing

    return billing()


def _conformance() -> "BackendCase":
    from tunebridge_vertexai.conformance import case

    return case("gemini")


INFO = BackendInfo(
    name="vertexai",
    title="Google Vertex AI",
    capabilities=either(*PROFILES.values()),
    load=_load,
    extra="vertexai",
    requires=("google.genai", "google.cloud.storage", "google.cloud.aiplatform_v1", "google.auth"),
    options=VertexAIOptions,
    notice="Gemini, open models and custom jobs differ in what they take; `tunebridge plan` says it for a job.",
    rehearse=_rehearse,
    billing=_billing,
    conformance=_conformance,
)
