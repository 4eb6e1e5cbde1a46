"""The mode `jumpstart`: a model of the catalogue by its own recipe, which the SageMaker SDK puts together."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunebridge.plan import Translation
from tunebridge_aws.rows import check_rows
from tunebridge_sagemaker.options import SageMakerOptions
from tunebridge_sagemaker.rows import SHAPES
from tunebridge_sagemaker.training_job import SENT_AS as OF_MACHINES

METHODS = frozenset({"sft"})
"""Methods of the catalogue's recipes that can be asked for here."""
MACHINE_KNOBS = (
    "volume_gb",
    "keep_alive_seconds",
    "max_runtime_seconds",
    "max_pending_seconds",
    "retries",
    "network_isolation",
)
SENT_AS = {
    **{name: OF_MACHINES[name] for name in MACHINE_KNOBS},
    "instance_type": "catalogue.instance_type",
    "accept_eula": "catalogue.accept_eula",
    "hub": "catalogue.hub_name",
    "model_version": "catalogue.model_version",
    "recipe": "recipe",
}
PLAIN = {
    "hyperparameters.batch_size": "per_device_train_batch_size",
    "hyperparameters.learning_rate": "learning_rate",
    "hyperparameters.max_length": "max_input_length",
    "hyperparameters.seed": "seed",
    "method.adapter.rank": "lora_r",
    "method.adapter.alpha": "lora_alpha",
    "method.adapter.dropout": "lora_dropout",
}
"""Spec field -> name in the recipes that were seen; one that the model's recipe lacks is refused when it is sent."""
FIELDS = frozenset(
    {*PLAIN, "base_model", "method.type", "method.adapter.type", "hyperparameters.epochs", "budget.max_hours"}
)
FIXED = {"instruction_tuned": "True"}
"""What goes with the rows' template."""


def translate(job: Translation, options: SageMakerOptions) -> None:
    """Send what the SDK needs to find the recipe, and what is changed in it."""
    job.base_model("catalogue.model_id")
    method = str(job.get("method.type") or "sft")
    if method in METHODS and job.is_set("method.type"):
        job.accept("method.type", "the catalogue's recipes imitate answers")
    elif method not in METHODS:
        job.refuse("method.type", f"jumpstart trains {', '.join(METHODS)}")
    adapter = job.get("method.adapter.type")
    if adapter == "lora":
        job.accept("method.adapter.type", "the recipe of the model decides what it trains; nothing is sent")
    elif adapter is not None:
        job.refuse("method.adapter.type", "the model's recipe decides; options.sagemaker.recipe sends its own words")
    _hyperparameters(job)
    if job.is_set("budget.max_hours"):
        seconds, reason = int(job.get("budget.max_hours") * 3600), "the service ends the job then, without a result"
        job.convert("budget.max_hours", OF_MACHINES["max_runtime_seconds"], seconds, reason)
    job.payload["rows"] = {"shape": "jumpstart"}
    if job.dataset.kind in SHAPES["jumpstart"].kinds:
        check_rows(job, SHAPES["jumpstart"])
    else:
        job.refuse("data.train", f"rows of kind sft are wanted, not {job.dataset.kind}")


def asked_of_sdk(payload: Mapping[str, Any], channels: Mapping[str, str], place: Mapping[str, str]) -> dict[str, Any]:
    """Return what `catalogue.compose` is asked; `place`: its `bucket`, `prefix`, `output` and key."""
    model = {key: value for key, value in payload["catalogue"].items() if key != "instance_type"}
    knobs = {key: str(value) for key, value in payload.get("hyperparameters", {}).items()}
    return {
        **place,
        "model": model,
        "instance_type": payload["catalogue"].get("instance_type"),
        "role": payload["request"]["RoleArn"],
        "hyperparameters": {**FIXED, **knobs, **payload.get("recipe", {})},
        "channels": dict(channels),
    }


def complete(payload: Mapping[str, Any], composed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole request: what the SDK composed, with what the job says of the machine laid over it."""
    return _over(composed, payload["request"])


def _hyperparameters(job: Translation) -> None:
    epochs = job.get("hyperparameters.epochs")
    if epochs is not None and epochs != int(epochs):
        job.refuse("hyperparameters.epochs", "the recipes train whole passes only; round it")
    elif epochs is not None:
        job.convert("hyperparameters.epochs", "hyperparameters.epoch", int(epochs), "the same number as an integer")
    for field, name in PLAIN.items():
        if job.get(field) == "auto":
            job.accept(field, "left to the recipe")
        elif job.is_set(field):
            job.take(field, f"hyperparameters.{name}")


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: _over(below[key], above[key]) for key in _sections(below, above)}
    return {**below, **above, **both}


def _sections(below: Mapping[str, Any], above: Mapping[str, Any]) -> Sequence[str]:
    return [key for key, value in above.items() if isinstance(value, dict) and isinstance(below.get(key), dict)]
