"""The mode `serverless`: Amazon trains a model of its hub by a recipe of its own, billed by token."""

from collections.abc import Mapping
from typing import Any

from tunebridge.plan import Translation
from tunebridge_aws.rows import check_rows
from tunebridge_sagemaker.options import SageMakerOptions
from tunebridge_sagemaker.rows import SHAPES

TECHNIQUES = {"sft": "SFT", "dpo": "DPO"}
SUFFIXES = {"sft": "sft", "dpo": "dpo", "reinforcement": "rl"}
"""Method -> last part of the names of its shapes."""
PUBLIC_HUB = "SageMakerPublicHub"
TOKENS_PER_K = 1024
SENT_AS = {
    "accept_eula": "request.ServerlessJobConfig.AcceptEula",
    "model_package_group_arn": "request.ModelPackageConfig.ModelPackageGroupArn",
    "hub": "hub",
    "sequence_length": "request.ServerlessJobConfig.SequenceLength",
    "technique": "request.ServerlessJobConfig.CustomizationTechnique",
    "evaluator_arn": "request.ServerlessJobConfig.EvaluatorArn",
    "recipe": "recipe",
}
PLAIN = {
    "hyperparameters.batch_size": "global_batch_size",
    "hyperparameters.learning_rate": "learning_rate",
    "hyperparameters.warmup_ratio": "lr_warmup_steps_ratio",
}
"""Spec field -> name in the recipes that were seen."""
FIELDS = frozenset(
    {
        *PLAIN,
        "base_model",
        "method.type",
        "method.adapter.type",
        "hyperparameters.epochs",
        "hyperparameters.max_length",
    }
)


def translate(job: Translation, options: SageMakerOptions) -> None:
    """Send a customization by one of Amazon's recipes."""
    model = job.base_model("base_model")
    method = _method(job, options)
    _adapter(job)
    job.payload["request"].setdefault("ServerlessJobConfig", {})["JobType"] = "FineTuning"
    _hyperparameters(job)
    _sequence_length(job)
    if options.model_package_group_arn is None:
        job.refuse("options.sagemaker.model_package_group_arn", "serverless registers the model there; set it")
    _rows(job, model, method)


def complete(payload: Mapping[str, Any], model_arn: str, places: Mapping[str, str]) -> dict[str, Any]:
    """Return the whole request; `places`: `train` and, where there are held-out rows, `validation`."""
    request = dict(payload["request"])
    request["ServerlessJobConfig"] = {**request["ServerlessJobConfig"], "BaseModelArn": model_arn}
    request["InputDataConfig"] = [
        {"ChannelName": split, "DataSource": {"S3DataSource": _source(places[split], payload["rows"]["shape"])}}
        for split in ("train", "validation")
        if split in places
    ]
    request["HyperParameters"] = {key: str(value) for key, value in payload.get("hyperparameters", {}).items()}
    request["HyperParameters"].update(payload.get("recipe", {}))
    return request


def is_nova(model: str) -> bool:
    """Whether a model is one of Amazon's own, which take rows of the Converse dialect."""
    return "nova" in model.lower()


def _method(job: Translation, options: SageMakerOptions) -> str:
    """Say the technique: that of the method, or for reinforcement the one that the options name."""
    if job.method != "reinforcement":
        for name in ("technique", "evaluator_arn"):
            if getattr(options, name) is not None:
                job.refuse(f"options.sagemaker.{name}", "it belongs to the method reinforcement; remove it")
        return job.choose("method.type", SENT_AS["technique"], TECHNIQUES, default=job.method)
    if options.technique is None:
        job.refuse("options.sagemaker.technique", "reinforcement is RLVR or RLAIF; set it")
    if job.is_set("method.type"):
        job.accept("method.type", "options.sagemaker.technique says how answers are rewarded")
    return "reinforcement"


def _adapter(job: Translation) -> None:
    """Say LORA, or nothing where every weight is trained, as the service wants it."""
    if job.get("method.adapter.type") == "full":
        job.accept("method.adapter.type", "the service trains every weight where no Peft is named")
    else:
        job.choose("method.adapter.type", "request.ServerlessJobConfig.Peft", {"lora": "LORA"}, default="lora")


def _hyperparameters(job: Translation) -> None:
    epochs = job.get("hyperparameters.epochs")
    if epochs is not None and epochs != int(epochs):
        job.refuse("hyperparameters.epochs", "the recipes train whole passes only; round it")
    elif epochs is not None:
        job.convert(
            "hyperparameters.epochs", "hyperparameters.max_epochs", int(epochs), "the same number as an integer"
        )
    for field, name in PLAIN.items():
        if job.get(field) == "auto":
            job.accept(field, "left to the recipe")
        elif job.is_set(field):
            job.take(field, f"hyperparameters.{name}")


def _sequence_length(job: Translation) -> None:
    length = job.get("hyperparameters.max_length")
    if length is None:
        return
    if length % TOKENS_PER_K:
        job.refuse("hyperparameters.max_length", f"serverless counts in steps of {TOKENS_PER_K} tokens; round it")
    elif job.is_set("options.sagemaker.sequence_length"):
        job.refuse("hyperparameters.max_length", "options.sagemaker.sequence_length says it too; remove one of them")
    else:
        words = f"{length // TOKENS_PER_K}K"
        job.convert("hyperparameters.max_length", SENT_AS["sequence_length"], words, "in thousands of tokens")


def _rows(job: Translation, model: str, method: str) -> None:
    if method not in SUFFIXES:
        return
    name = f"{'nova' if is_nova(model) else 'serverless'}_{SUFFIXES[method]}"
    job.payload["rows"] = {"shape": name}
    if job.dataset.kind in SHAPES[name].kinds:
        check_rows(job, SHAPES[name])


def _source(uri: str, shape: str) -> dict[str, str]:
    kind = "Converse" if shape in ("nova_sft", "nova_dpo") else "S3Prefix"
    return {"S3DataType": kind, "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
