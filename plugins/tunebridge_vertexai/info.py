"""Who the backend is and what it can do; imports no SDK."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tunebridge.backend import Backend, BackendInfo, Rehearsal
from tunebridge.capabilities import Capabilities, either
from tunebridge_vertexai.models import Family
from tunebridge_vertexai.options import VertexAIOptions
from tunebridge_vertexai.translate import GEMINI_FIELDS, OPEN_FIELDS

if TYPE_CHECKING:
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
FAMILIES: Mapping[Family, Capabilities] = {"gemini": GEMINI, "open_models": OPEN_MODELS}


def _load() -> type[Backend]:
    from tunebridge_vertexai.backend import VertexAIBackend

    return VertexAIBackend


def _rehearse(folder: Path) -> Rehearsal:
    from tunebridge_vertexai.conformance import rehearse

    return rehearse(folder)


def _conformance() -> "BackendCase":
    from tunebridge_vertexai.conformance import case

    return case("gemini")


INFO = BackendInfo(
    name="vertexai",
    title="Google Vertex AI",
    capabilities=either(GEMINI, OPEN_MODELS),
    load=_load,
    extra="vertexai",
    requires=("google.genai", "google.cloud.storage", "google.auth"),
    options=VertexAIOptions,
    notice="Gemini and open models differ in what they take; `tunebridge plan` says it for the job at hand.",
    rehearse=_rehearse,
    conformance=_conformance,
)
