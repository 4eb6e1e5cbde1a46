"""JobSpec -> a tuning job of Vertex AI as a payload: pure, no I/O, no SDK.

The payload has three parts: `connection` (project, region, bucket), `rows` (which shape the files have) and `request`
(what `client.tunings.tune` takes, without the addresses of files that are not uploaded yet).
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from tunebridge.capabilities import Capabilities
from tunebridge.data.dataset import Dataset, Split
from tunebridge.data.shapes.limits import load_limits
from tunebridge.data.targets import Limits
from tunebridge.plan import Plan, Translation
from tunebridge.spec import JobSpec
from tunebridge.training.options import TrainerOptions
from tunebridge_vertexai import custom_job, models, prompts, rows
from tunebridge_vertexai.models import Family, Profile
from tunebridge_vertexai.options import VertexAIOptions

METHODS = {
    "sft": "SUPERVISED_FINE_TUNING",
    "dpo": "PREFERENCE_TUNING",
    "distillation": "DISTILLATION",
    "reinforcement": "REINFORCEMENT_TUNING",
}
SHAPES = {**rows.SHAPES, **prompts.SHAPES}
SHAPE_OF = {
    "sft": "gemini_sft",
    "dpo": "gemini_preference",
    "distillation": "prompt",
    "reinforcement": "rewarded",
}
"""Method -> the shape that Gemini's rows take; open models have one of their own."""
MODES = {"lora": "TUNING_MODE_PEFT_ADAPTER", "full": "TUNING_MODE_FULL"}
SIZES = {1: "ONE", 2: "TWO", 4: "FOUR", 8: "EIGHT", 16: "SIXTEEN", 32: "THIRTY_TWO"}
SERVICE_DEFAULT = "chosen by the service"
JOB_LABEL = "tunebridge_job"
"""Label that carries our id."""

SENT_AS: dict[str, str] = {
    **{name: f"connection.{name}" for name in ("mode", "project", "location", "bucket", "prefix")},
    "kms_key_name": "request.config.encryption_spec.kms_key_name",
    **{
        name: f"request.config.{name}"
        for name in (
            "tuned_model_display_name",
            "description",
            "labels",
            "export_last_checkpoint_only",
            "pre_tuned_model_checkpoint_id",
            "custom_base_model",
        )
    },
    "distillation": "request.distillation",
    "reinforcement": "request.reinforcement",
}

COMMON = frozenset(
    {
        "base_model",
        "method.type",
        "method.adapter.type",
        "method.adapter.rank",
        "hyperparameters.epochs",
        "hyperparameters.batch_size",
    }
)
GEMINI_FIELDS = COMMON | {"method.beta", "hyperparameters.learning_rate_multiplier"}
OPEN_FIELDS = COMMON | {"hyperparameters.learning_rate"}


def profile_of(spec: JobSpec) -> Profile:
    """Return whose rules a job follows: those of a machine, or of its model's family."""
    if spec.options.get("vertexai", {}).get("mode") == "custom_job":
        return "custom_job"
    weights = spec.options.get("vertexai", {}).get("custom_base_model")
    return models.family(spec.model_for("vertexai") or "", custom_weights=bool(weights))


def translate(spec: JobSpec, dataset: Dataset, capabilities: Mapping[Profile, Capabilities]) -> Plan:
    """Return the plan of a tuning job."""
    family = profile_of(spec)
    job = Translation(spec, dataset, backend="vertexai", capabilities=capabilities[family])
    if family == "custom_job":
        return custom_job.translate(job, capabilities[family])
    model = job.base_model("request.base_model")
    method = job.choose("method.type", "request.config.method", METHODS, default="sft")
    options = job.options(VertexAIOptions, SENT_AS)
    for name, default in (("location", options.location), ("prefix", options.prefix)):
        job.take(f"options.vertexai.{name}", f"connection.{name}", default=default, source="TuneBridge's default")
    job.payload["rows"] = {"shape": SHAPE_OF.get(method, "gemini_sft") if family == "gemini" else "open_models"}
    _epochs(job)
    (_gemini if family == "gemini" else _open_models)(job, model, method, options)
    _check_location(job, family, options)
    _check_rows(job, method)
    for name in (*custom_job.ONLY_HERE, *TrainerOptions.model_fields):
        if job.is_set(f"options.vertexai.{name}"):
            job.refuse(f"options.vertexai.{name}", "it belongs to the mode custom_job; remove it")
    return job.plan()


def request(payload: Mapping[str, Any], job_id: str, files: Mapping[str, str], folder: str) -> dict[str, Any]:
    """Return what the create call takes: the plan's request, our id, and the uploaded files by split."""
    asked = payload["request"]
    config = {**asked["config"], **asked.get("distillation", {}), **asked.get("reinforcement", {})}
    config["labels"] = {**config.get("labels", {}), JOB_LABEL: job_id}
    if "validation" in files:
        config["validation_dataset"] = {"gcs_uri": files["validation"]}
    if payload["rows"]["shape"] == "open_models":
        config["output_uri"] = f"{folder}/output"
    return {
        "base_model": asked["base_model"],
        "training_dataset": {"gcs_uri": files["train"]},
        "config": config,
    }


def _gemini(job: Translation, model: str, method: str, options: VertexAIOptions) -> None:
    if not model.startswith("projects/") and model not in models.known("gemini"):
        job.warn(f"{model} is not among the models that Vertex AI is known to tune ({models.source('gemini')}).")
    _rank(job, "gemini")
    if job.is_set("method.adapter.type") and job.get("method.adapter.type") == "lora":
        job.accept("method.adapter.type", "Gemini is always tuned with an adapter; nothing is sent")
    job.take(
        "hyperparameters.learning_rate_multiplier",
        "request.config.learning_rate_multiplier",
    )
    _not_here(job, "hyperparameters.learning_rate", "it is absolute; set hyperparameters.learning_rate_multiplier")
    _only_for(job, "hyperparameters.batch_size", method, "reinforcement", "request.config.batch_size")
    _only_for(job, "method.beta", method, "dpo", "request.config.beta")
    if method == "reinforcement" and not _has_reward(options):
        job.refuse("options.vertexai.reinforcement", "the method needs a reward; set its reward_config")
    if method == "distillation" and options.distillation is None:
        job.refuse("options.vertexai.distillation", "the method needs a teacher; set its base_teacher_model")
    for section in ("distillation", "reinforcement"):
        if getattr(options, section) is not None and method != section:
            job.refuse(f"options.vertexai.{section}", f"it belongs to the method {section}; remove it")
    if options.pre_tuned_model_checkpoint_id and not model.startswith("projects/"):
        job.refuse("options.vertexai.pre_tuned_model_checkpoint_id", "base_model is no tuned model; remove it")


def _open_models(job: Translation, model: str, method: str, options: VertexAIOptions) -> None:
    adapters = models.adapters(model)
    if "@" not in model:
        job.refuse("base_model", f"the part behind @ is missing; possible are {', '.join(models.known('open_models'))}")
    elif adapters is None:
        job.warn(f"{model} is not among the open models that are known here ({models.source('open_models')}).")
    offered = {name: MODES[name] for name in adapters or MODES}
    job.choose("method.adapter.type", "request.config.tuning_mode", offered, default=next(iter(offered)))
    _rank(job, "open_models")
    if job.get("hyperparameters.batch_size") == "auto":
        job.accept("hyperparameters.batch_size", SERVICE_DEFAULT)
    else:
        job.take("hyperparameters.batch_size", "request.config.batch_size")
    job.take("hyperparameters.learning_rate", "request.config.learning_rate")
    _not_here(job, "hyperparameters.learning_rate_multiplier", "open models take hyperparameters.learning_rate")
    for name in ("distillation", "reinforcement", "pre_tuned_model_checkpoint_id"):
        if getattr(options, name) is not None:
            job.refuse(f"options.vertexai.{name}", "open models are only tuned on answers here; remove it")


def _epochs(job: Translation) -> None:
    epochs = job.get("hyperparameters.epochs")
    if epochs is not None and epochs != int(epochs):
        job.refuse("hyperparameters.epochs", "the service trains whole passes only; round it")
    elif epochs is not None:
        job.convert("hyperparameters.epochs", "request.config.epoch_count", int(epochs), "the same as an integer")


def _rank(job: Translation, family: Family) -> None:
    rank, sizes = job.get("method.adapter.rank"), models.adapter_sizes(family)
    if rank is not None and rank not in sizes:
        job.refuse("method.adapter.rank", f"the service takes {', '.join(map(str, sizes))}")
    elif rank is not None:
        word = f"ADAPTER_SIZE_{SIZES[rank]}"
        job.convert("method.adapter.rank", "request.config.adapter_size", word, "the service's word for it")


def _only_for(job: Translation, field: str, method: str, wanted: str, sent_as: str) -> None:
    if method == wanted:
        job.take(field, sent_as)
    elif job.is_set(field):
        job.drop(field, f"for Gemini it belongs to the method {wanted}")


def _not_here(job: Translation, field: str, reason: str) -> None:
    if job.is_set(field):
        job.drop(field, reason)


def _has_reward(options: VertexAIOptions) -> bool:
    rewards = options.reinforcement
    return rewards is not None and bool(rewards.reward_config or rewards.composite_reward_config)


def _check_location(job: Translation, family: Family, options: VertexAIOptions) -> None:
    field = "options.vertexai.location"
    if family == "gemini" and options.location == "global":
        job.refuse(field, "Gemini is not tuned in `global`; name a region such as us-central1")
    if family == "open_models" and options.location not in models.regions():
        job.warn(f"Open models are known to be tuned in {', '.join(models.regions())} only.")
    if options.location == "global" and options.kms_key_name:
        job.refuse("options.vertexai.kms_key_name", "the service refuses keys in `global`; name a region")


def _check_rows(job: Translation, method: str) -> None:
    """Refuse prompts with answers where a teacher answers, and more held-out rows than the service takes."""
    if method == "distillation" and job.dataset.kind != "prompt_only":
        job.refuse("data.train", "a teacher writes the answers; give rows without them")
    shape = job.payload["rows"]["shape"]
    limits = load_limits(__package__).get(shape)
    if limits and job.dataset.validation and (why := _too_much(job.dataset, limits, SHAPES[shape].convert)):
        job.refuse("data.validation", why)


def _too_much(dataset: Dataset, limits: Limits, convert: Callable[..., Any]) -> str | None:
    held_out = dataset.validation or Split(())
    if limits.max_validation_rows and len(held_out) > limits.max_validation_rows:
        return f"the service takes at most {limits.max_validation_rows} held-out rows; hold out a smaller share"
    if limits.max_validation_share:
        train, validation = (_size(split, convert) for split in (dataset.train, held_out))
        if validation > limits.max_validation_share * train:
            return (
                f"the held-out rows have {validation} bytes, and the service takes at most "
                f"{limits.max_validation_share:.0%} of the {train} bytes of the training rows; hold out a smaller share"
            )
    return None


def _size(split: Split, convert: Callable[..., Any]) -> int:
    rows_of = (row for example in split for row in convert(example.to_json()).rows)
    return sum(len(json.dumps(row, ensure_ascii=False).encode()) + 1 for row in rows_of)
