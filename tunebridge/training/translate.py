"""JobSpec -> the trainer's RunConfig as a payload, here and for rented machines: pure, no torch."""

from typing import Any

from tunebridge.plan import METHOD_KINDS, Translation
from tunebridge.training.config import NANO, RANDOM
from tunebridge.training.options import TrainerOptions
from tunebridge.training.sources import ModelSource, locate

# Spec field -> (field of RunConfig, default); None leaves the choice out of the run.
PLAIN: dict[str, tuple[str, Any]] = {
    "hyperparameters.epochs": ("epochs", 3.0),
    "hyperparameters.max_steps": ("max_steps", None),
    "hyperparameters.schedule": ("schedule", "linear"),
    "hyperparameters.warmup_ratio": ("warmup_ratio", 0.05),
    "hyperparameters.weight_decay": ("weight_decay", 0.0),
    "hyperparameters.max_grad_norm": ("max_grad_norm", 1.0),
    "hyperparameters.seed": ("seed", 0),
    "hyperparameters.early_stopping_patience": ("early_stopping_patience", None),
    "data.too_long": ("too_long", "error"),
    "budget.max_hours": ("max_hours", None),
}
ADAPTER: dict[str, tuple[str, Any]] = {
    "method.adapter.rank": ("adapter.rank", 16),
    "method.adapter.alpha": ("adapter.alpha", None),
    "method.adapter.dropout": ("adapter.dropout", 0.0),
    "method.adapter.target_modules": ("adapter.target_modules", None),
}
TRAINER_DEFAULT = "the trainer's default"
# Measured on the shipped model (tools/nano/README.md): a 1M-parameter model wants far larger steps.
NANO_LEARNING_RATE = {"lora": 5e-3, "full": 3e-3}
LEARNING_RATE = {"lora": 2e-4, "full": 2e-5}
PREFERENCES = ("dpo", "kto")
PREFERENCE_LEARNING_RATE_PART = 0.1
"""Preferences are learnt with smaller steps: the loss has no floor that would hold the weights."""
METHODS = {name: name for name in ("sft", "dpo", "kto")}
ROW_KINDS = frozenset[str]().union(*(METHOD_KINDS[method] for method in METHODS))
"""Kinds of rows that the trainer learns from; like METHODS for the capabilities of every backend that runs it."""
ADAPTERS = {name: name for name in ("lora", "rslora", "dora", "qlora", "full")}

FIELDS = frozenset(
    {
        *PLAIN,
        *ADAPTER,
        "base_model",
        "method.type",
        "method.adapter.type",
        "method.beta",
        "hyperparameters.batch_size",
        "hyperparameters.learning_rate",
        "hyperparameters.max_length",
    }
)
"""Spec fields that a run of the trainer understands; a backend adds its own."""
RUN_OPTIONS = {name: f"run.{name}" for name in TrainerOptions.model_fields}
"""Where the trainer's knobs go in the payload of a backend that keeps the run apart from its own words."""


def translate_run(job: Translation, source: ModelSource) -> None:
    """Send every field of a run; `source` is where the base model lies and how long its context is."""
    model = job.base_model("base_model", default=NANO)
    if source.name != model:
        job.convert("base_model", "base_model", source.name, "the same folder as an absolute path")
    method = _method(job)
    adapter = job.choose("method.adapter.type", "adapter.type", ADAPTERS, default="lora")
    for field, (sent_as, default) in PLAIN.items():
        job.take(field, sent_as, default=default, source=TRAINER_DEFAULT)
    if adapter != "full":
        _adapter(job)
    elif method == "kto":
        job.refuse("method.adapter.type", "kto has its reference where the adapter is off; choose lora")
    _learning_rate(job, model, adapter, method)
    _batch_size(job, method)
    _max_length(job, source)
    _keep(job)


def translate_rented_run(job: Translation) -> None:
    """Send a run for a rented machine as the payload's `run`; that machine fetches a hub model itself."""
    source = locate(job.spec.model_for(job.backend) or NANO)
    with job.section("run"):
        translate_run(job, source)
    if source.folder and source.name not in (NANO, RANDOM):
        job.refuse("base_model", f"the rented machine does not have this folder; give a hub id or {NANO}")


def _method(job: Translation) -> str:
    method = job.choose("method.type", "method", METHODS, default=job.method)
    job.take("method.beta", "beta", default=0.1 if method in PREFERENCES else None, source=TRAINER_DEFAULT)
    if job.is_set("method.beta") and method not in PREFERENCES:
        job.refuse("method.beta", f"it belongs to the methods {' and '.join(PREFERENCES)}, not {method}; remove it")
    return method


def _adapter(job: Translation) -> None:
    for field, (sent_as, default) in ADAPTER.items():
        job.take(field, sent_as, default=default, source=TRAINER_DEFAULT)
    if not job.is_set("method.adapter.alpha"):
        rank = job.get("method.adapter.rank") or ADAPTER["method.adapter.rank"][1]
        job.take("method.adapter.alpha", "adapter.alpha", default=2.0 * rank, source="twice the rank")


def _learning_rate(job: Translation, model: str, adapter: str, method: str) -> None:
    rates = NANO_LEARNING_RATE if model in (NANO, RANDOM) else LEARNING_RATE
    rate = rates.get(adapter, rates["lora"]) * (PREFERENCE_LEARNING_RATE_PART if method in PREFERENCES else 1.0)
    on = " on the shipped model" if rates is NANO_LEARNING_RATE else ""
    source = f"{TRAINER_DEFAULT} for {method} with {adapter}{on}"
    job.take("hyperparameters.learning_rate", "learning_rate", default=rate, source=source)


def _keep(job: Translation) -> None:
    """Keep the best weights where validation decides when to stop; refuse to where nothing is validated."""
    field = f"options.{job.backend}.keep"
    if job.get(field) == "best" and not job.dataset.validation:
        job.refuse(field, "the best weights are found with validation rows, and data.validation is not set")
    stops_early = job.is_set("hyperparameters.early_stopping_patience")
    if stops_early and not job.dataset.validation:
        reason = "only validation rows can tell when to stop; set data.validation"
        job.refuse("hyperparameters.early_stopping_patience", reason)
    if not job.is_set(field):
        why = "with early stopping" if stops_early else "without early stopping"
        job.take(field, "keep", default="best" if stops_early else "last", source=f"{TRAINER_DEFAULT} {why}")


def _batch_size(job: Translation, method: str) -> None:
    field = "hyperparameters.batch_size"
    job.take(field, "batch_size", default=16, source=TRAINER_DEFAULT)
    if job.get(field) == 1 and method == "kto":
        job.refuse(field, "kto compares the rows of a step; set 2 or more")


def _max_length(job: Translation, model: ModelSource) -> None:
    wanted, most = job.get("hyperparameters.max_length"), model.context_length
    if wanted is not None and most is not None and wanted > most:
        job.refuse("hyperparameters.max_length", f"the model takes at most {most} tokens")
        return
    source = "the model's own limit" if most == model.default_max_length else TRAINER_DEFAULT
    job.take("hyperparameters.max_length", "max_length", default=model.default_max_length, source=source)
