"""The mode `training_job`: TuneBridge's trainer in a container on a rented machine."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tunebridge.plan import Translation
from tunebridge.training import translate as trainer
from tunebridge.training.config import NANO, RANDOM
from tunebridge.training.size import billions_of_weights, needed_gb
from tunebridge.training.sources import ModelSource
from tunebridge_sagemaker import instances
from tunebridge_sagemaker.options import SageMakerOptions

FIELDS = trainer.FIELDS | {"budget.max_usd"}
SENT_AS = {
    **trainer.RUN_OPTIONS,
    "instance_type": "request.ResourceConfig.InstanceType",
    "volume_gb": "request.ResourceConfig.VolumeSizeInGB",
    "keep_alive_seconds": "request.ResourceConfig.KeepAlivePeriodInSeconds",
    "image_uri": "request.AlgorithmSpecification.TrainingImage",
    "spot": "request.EnableManagedSpotTraining",
    "max_runtime_seconds": "request.StoppingCondition.MaxRuntimeInSeconds",
    "max_wait_seconds": "request.StoppingCondition.MaxWaitTimeInSeconds",
    "max_pending_seconds": "request.StoppingCondition.MaxPendingTimeInSeconds",
    "retries": "request.RetryStrategy.MaximumRetryAttempts",
    "network_isolation": "request.EnableNetworkIsolation",
}
DAY_SECONDS = 86_400
START_SECONDS = 1_800
"""What a run may take beyond its training: the image, the requirements, the model, the upload of the result."""
VOLUME_BASE_GB = 60
MIN_TRAINING_HOURS = 0.05
HOME, INPUT, CHECKPOINTS = "/opt/ml", "/opt/ml/input/data", "/opt/ml/checkpoints"
"""Where the service puts and fetches files inside the container."""
MODEL_CHANNEL = f"{INPUT}/model"
METRICS = ("train_loss", "validation_loss", "learning_rate")


def translate(job: Translation, options: SageMakerOptions) -> None:
    """Send a run of the trainer, the machine that it runs on, and when it ends at the latest."""
    _run(job)
    _method(job)
    adapter = str(job.get("method.adapter.type") or "lora")
    model = job.spec.model_for(job.backend) or NANO
    chosen = options.instance_type or _suggested(job, model, adapter)
    request: dict[str, Any] = job.payload.setdefault("request", {})
    resources = request.setdefault("ResourceConfig", {})
    resources["InstanceCount"] = 1  # the trainer uses one machine
    if not instances.has_local_disks(chosen):
        resources.setdefault("VolumeSizeInGB", _volume_gb(model))
    elif options.volume_gb is not None:
        job.refuse("options.sagemaker.volume_gb", f"{chosen} has disks of its own, whose size is fixed; remove it")
    request.setdefault("AlgorithmSpecification", {}).setdefault(
        "TrainingImage", instances.image_uri(options.region, chosen)
    )
    _budget(job, chosen, options.region)
    _end(job, options)
    _isolation(job, options, model)


def complete(payload: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, Any]:
    """Return the whole request: the plan's and the places of the uploaded files.

    `places`: `code`, `run`, `output`, `checkpoints` and, where the model lies in S3, `model`.
    """
    request = dict(payload["request"])
    request["AlgorithmSpecification"] = {
        **request["AlgorithmSpecification"],
        "TrainingInputMode": "File",
        "ContainerEntrypoint": ["/bin/bash", "-c"],
        "ContainerArguments": [start_script()],
        "MetricDefinitions": [
            {"Name": metric, "Regex": rf'"name": "{metric}", "value": ([0-9.eE+-]+)'} for metric in METRICS
        ],
    }
    channels = [channel for channel in ("code", "run", "model") if channel in places]
    request["InputDataConfig"] = [_channel(channel, places[channel]) for channel in channels]
    request["CheckpointConfig"] = {"S3Uri": places["checkpoints"], "LocalPath": CHECKPOINTS}
    request["HyperParameters"] = {key: str(value) for key, value in _shown(payload["run"])}
    return request


def start_script() -> str:
    """Return what the container runs: unpack the source, then go on as it says (`container/train.sh`)."""
    return f"cd {INPUT} && tar -xzf code/source.tar.gz -C code && exec bash code/train.sh {HOME}"


def _run(job: Translation) -> None:
    model = job.spec.model_for(job.backend) or ""
    if not model.startswith("s3://"):
        trainer.translate_rented_run(job)
        return
    with job.section("run"):
        trainer.translate_run(job, ModelSource(MODEL_CHANNEL, None, None))
    job.convert("base_model", "run.base_model", MODEL_CHANNEL, "the channel into which the service copies the folder")
    job.payload["model_uri"] = model


def _method(job: Translation) -> None:
    method = job.spec.method.type
    if method not in trainer.METHODS and method in job.capabilities.methods:
        job.refuse("options.sagemaker.mode", f"training_job trains {', '.join(trainer.METHODS)}; set mode: serverless")


def _suggested(job: Translation, model: str, adapter: str) -> str:
    billions = billions_of_weights(model)
    if billions is None:
        job.warn(f"the size of {model} is not known, so the smallest machine with a GPU is taken; see instance_type.")
    needed = needed_gb(billions or 0.0, adapter)
    found = instances.smallest_fitting(needed)
    if found is None:
        job.refuse(
            "base_model", f"{adapter} takes about {needed:.0f} GB on one GPU; set options.sagemaker.instance_type"
        )
        return "ml.p5.4xlarge"
    job.take(
        "options.sagemaker.instance_type",
        SENT_AS["instance_type"],
        default=found.name,
        source=f"the smallest that fits: {found.gpu}, {found.gpu_memory_gb} GB",
    )
    return found.name


def _volume_gb(model: str) -> int:
    return VOLUME_BASE_GB + math.ceil(8 * (billions_of_weights(model) or 10))


def _budget(job: Translation, instance_type: str, region: str) -> None:
    """Turn a cap in money into one in hours, which keeps the result so far when it is reached."""
    if not job.is_set("budget.max_usd"):
        return
    usd, (hourly, source) = Decimal(str(job.get("budget.max_usd"))), instances.price(instance_type, region)
    if hourly is None:
        job.drop("budget.max_usd", source)
        return
    hours = float(usd / hourly) - START_SECONDS / 3600
    if hours < MIN_TRAINING_HOURS:
        job.refuse("budget.max_usd", f"at {hourly} USD an hour nothing is left after the start; raise it")
    elif (job.get("budget.max_hours") or math.inf) <= hours:
        job.accept("budget.max_usd", f"budget.max_hours ends it before, at {hourly} USD an hour ({source})")
    else:
        reason = f"hours of training at {hourly} USD an hour, half an hour kept for start and end ({source})"
        job.convert("budget.max_usd", "run.max_hours", round(hours, 4), reason)


def _end(job: Translation, options: SageMakerOptions) -> None:
    hours = job.payload["run"].get("max_hours")
    longest = options.max_runtime_seconds or (math.ceil(hours * 3600) + START_SECONDS if hours else DAY_SECONDS)
    stopping = job.payload["request"].setdefault("StoppingCondition", {})
    stopping["MaxRuntimeInSeconds"] = longest
    if options.spot and stopping.setdefault("MaxWaitTimeInSeconds", longest + DAY_SECONDS) < longest:
        job.refuse("options.sagemaker.max_wait_seconds", f"it must be at least the run's own limit of {longest} s")


def _isolation(job: Translation, options: SageMakerOptions, model: str) -> None:
    if options.network_isolation and not (model.startswith("s3://") or model in (NANO, RANDOM)):
        job.refuse("base_model", "an isolated container cannot fetch a model; give an s3:// folder that holds it")
    if options.network_isolation and options.image_uri is None:
        job.refuse(
            "options.sagemaker.image_uri",
            "an isolated container cannot install the trainer's requirements; give an image that holds them",
        )


def _channel(name: str, uri: str) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}


def _shown(run: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return the run's settings for the console; the container itself reads `run.json`."""
    flat: list[tuple[str, Any]] = []
    for key, value in run.items():
        flat += _shown(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return flat
