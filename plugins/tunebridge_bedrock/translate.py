"""JobSpec -> a CreateModelCustomizationJob request as a payload: pure, no I/O, no SDK."""

from collections.abc import Mapping
from typing import Any

from tunebridge.capabilities import Capabilities
from tunebridge.data.dataset import Dataset
from tunebridge.plan import Plan, Translation
from tunebridge.spec import JobSpec
from tunebridge_aws.options import CONNECTION
from tunebridge_aws.rows import check_rows
from tunebridge_bedrock.models import Model, model_for
from tunebridge_bedrock.options import BedrockOptions
from tunebridge_bedrock.rows import SHAPES

METHODS = {
    "sft": "FINE_TUNING",
    "continued_pretraining": "CONTINUED_PRE_TRAINING",
    "distillation": "DISTILLATION",
    "reinforcement": "REINFORCEMENT_FINE_TUNING",
}
OWN_SECTION = ("distillation", "reinforcement")
"""Methods that need a section of their own name in the options."""
JOB_TAG = "tunebridge-job"
SENT_AS = {
    **CONNECTION,
    "role_arn": "request.roleArn",
    "tags": "tags",
    "subnets": "request.vpcConfig.subnetIds",
    "security_groups": "request.vpcConfig.securityGroupIds",
    "model_name": "request.customModelName",
    "hyperparameters": "own_hyperparameters",
    "distillation": "request.customizationConfig.distillationConfig",
    "reinforcement": "request.customizationConfig.rftConfig",
}
RFT_KNOBS = "request.customizationConfig.rftConfig.hyperParameters"
OF_METHOD = {"reinforcement": model_for("reinforcement"), "continued_pretraining": model_for("pretraining")}
"""Methods whose rows and bounds are the same for every model."""
PLAIN = {
    "hyperparameters.epochs": "epochCount",
    "hyperparameters.batch_size": "batchSize",
    "hyperparameters.learning_rate": "learningRate",
}
FIELDS = frozenset(
    {
        *PLAIN,
        "base_model",
        "method.type",
        "method.adapter.type",
        *(f"options.bedrock.{name}" for name in BedrockOptions.model_fields),
    }
)


def translate(spec: JobSpec, dataset: Dataset, capabilities: Capabilities) -> Plan:
    """Return the plan of a job."""
    job = Translation(spec, dataset, backend="bedrock", capabilities=capabilities)
    known = model_for(job.base_model("request.baseModelIdentifier"))
    method = job.choose("method.type", "request.customizationType", METHODS, default=job.method)
    options = job.options(BedrockOptions, SENT_AS)
    job.take("options.bedrock.prefix", "connection.prefix", default="tunebridge", source="the backend's default")
    if job.get("method.adapter.type") == "lora":
        job.accept("method.adapter.type", "the service keeps to itself what it trains; nothing is sent")
    for name in OWN_SECTION:
        if (method == name) != (getattr(options, name) is not None):
            job.refuse(f"options.bedrock.{name}", f"it belongs to the method {name}, which needs it")
    place, known = RFT_KNOBS if method == "reinforcement" else "hyperparameters", OF_METHOD.get(method, known)
    for field, name in PLAIN.items():
        _hyperparameter(job, known, field, f"{place}.{name}")
    for name in options.hyperparameters or {}:
        if name in job.payload.get("hyperparameters", {}):
            job.refuse(
                "options.bedrock.hyperparameters", f"{name} is set under hyperparameters too; remove one of them"
            )
    if job.is_set("hyperparameters.warmup_ratio"):
        job.drop("hyperparameters.warmup_ratio", "warm-up is counted in steps; see options.bedrock.hyperparameters")
    _rows(job, known.shape if method != "distillation" or dataset.kind == "sft" else "distillation")
    return job.plan()


def request(payload: Mapping[str, Any], job_id: str, places: Mapping[str, str]) -> dict[str, Any]:
    """Return the body of the create call; `places`: `train`, `output` and, where there are any, `validation`."""
    tags = [{"key": key, "value": value} for key, value in {**payload.get("tags", {}), JOB_TAG: job_id}.items()]
    knobs = {name: str(value) for name, value in payload.get("hyperparameters", {}).items()}
    body = {
        "customModelName": job_id,
        **payload["request"],
        "jobName": job_id,
        "clientRequestToken": job_id,
        "trainingDataConfig": {"s3Uri": places["train"]},
        "outputDataConfig": {"s3Uri": places["output"]},
        "hyperParameters": {**knobs, **payload.get("own_hyperparameters", {})},
        "jobTags": tags,
        "customModelTags": tags,
    }
    if "validation" in places:
        body["validationDataConfig"] = {"validators": [{"s3Uri": places["validation"]}]}
    if payload["connection"].get("kms_key_id"):
        body["customModelKmsKeyId"] = payload["connection"]["kms_key_id"]
    return body


def _rows(job: Translation, shape: str) -> None:
    job.payload["rows"] = {"shape": shape}
    if job.dataset.kind in SHAPES[shape].kinds:
        check_rows(job, SHAPES[shape])
    else:
        job.refuse("data.train", f"rows of kind {', '.join(SHAPES[shape].kinds)} are wanted, not {job.dataset.kind}")


def _hyperparameter(job: Translation, known: Model, field: str, sent_as: str) -> None:
    value, name = job.get(field), sent_as.rpartition(".")[2]
    if value is None:
        return
    if value == "auto":
        job.accept(field, "left to the service")
        return
    low, high = known.bounds.get(name, (0, float("inf")))
    if known.bounds and name not in known.bounds:
        job.drop(field, f"this model has no {name} ({known.source_url})")
    elif not low <= value <= high:
        job.refuse(field, f"this model takes {name} from {low:g} to {high:g} ({known.source_url})")
    elif name == "epochCount" and value != int(value):
        job.refuse(field, "the service trains whole passes only; round it")
    elif name == "epochCount":
        job.convert(field, sent_as, int(value), "the same number as an integer")
    else:
        job.take(field, sent_as)
