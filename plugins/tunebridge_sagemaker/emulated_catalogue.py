"""The emulator's hub: a few models, what DescribeHubContent says of them, and the files that their recipes need."""

import json
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tunebridge_aws.buckets import Buckets
from tunebridge_aws.wire import REGION
from tunebridge_sagemaker import emulated_recipe
from tunebridge_sagemaker.emulated import moment
from tunebridge_sagemaker.serverless import PUBLIC_HUB

HUB = f"arn:aws:sagemaker:{REGION}:aws:hub"
MODELS = {"huggingface-reasoning-qwen3-1-7b": False, "meta-textgeneration-llama-3-8b": True}
"""Models of the emulated hub, and whether their licence must be accepted."""
BUCKET = "jumpstart-cache-rehearsal"
SCRIPT, WEIGHTS = "source-directory-tarballs/transfer-learning.tar.gz", "artifacts/nothing/weights.txt"
VERSION = "1.0.0"
IMAGE = f"763104351884.dkr.ecr.{REGION}.amazonaws.com/huggingface-pytorch-training:2.8.0"
INSTANCE_TYPES = ("ml.g5.2xlarge", "ml.g6.2xlarge", "ml.m5.xlarge")
TYPES = {int: "int", float: "float", str: "text"}


def hub_content(name: str) -> dict[str, Any] | None:
    """Return a model of the hub as DescribeHubContent does, None where there is none."""
    if name not in MODELS:
        return None
    return {
        "HubContentName": name,
        "HubContentArn": f"arn:aws:sagemaker:{REGION}:aws:hub-content/{PUBLIC_HUB}/Model/{name}/{VERSION}",
        "HubContentVersion": VERSION,
        "HubContentType": "Model",
        "DocumentSchemaVersion": "2.3.0",
        "HubName": PUBLIC_HUB,
        "HubArn": f"{HUB}/{PUBLIC_HUB}",
        "HubContentDocument": json.dumps(_document(is_gated=MODELS[name])),
        "HubContentStatus": "Available",
        "CreationTime": moment(0),
    }


def stock(buckets: Buckets) -> None:
    """Put into the catalogue's bucket what its recipes need."""
    buckets.create(BUCKET)
    with tempfile.TemporaryDirectory() as name:
        script, weights = Path(name) / "script.tar.gz", Path(name) / "weights.txt"
        with tarfile.open(script, "w:gz") as tar:
            tar.add(str(emulated_recipe.__file__), "transfer_learning.py")
        weights.write_text("The recipe trains tunebridge/nano.")
        buckets.put(BUCKET, SCRIPT, script)
        buckets.put(BUCKET, WEIGHTS, weights)


def _document(*, is_gated: bool) -> dict[str, Any]:
    knobs = [
        {"Name": name, "Type": TYPES[type(default)], "Default": default, "Scope": "algorithm"}
        for name, default in emulated_recipe.KNOBS.items()
    ]
    return {
        "Url": "https://huggingface.co",
        "ModelTypes": ["OPEN_WEIGHTS"],
        "Capabilities": ["TRAINING", "FINE_TUNING"],
        "TrainingSupported": True,
        "IncrementalTrainingSupported": False,
        "GatedBucket": is_gated,
        "Hyperparameters": knobs,
        "TrainingScriptUri": f"s3://{BUCKET}/{SCRIPT}",
        "TrainingArtifactUri": f"s3://{BUCKET}/{WEIGHTS.rpartition('/')[0]}/",
        "TrainingArtifactS3DataType": "S3Prefix",
        "TrainingArtifactCompressionType": "None",
        "TrainingEcrUri": IMAGE,
        "TrainingMetrics": [{"Name": "train_loss", "Regex": emulated_recipe.LOSS}],
        "DefaultTrainingInstanceType": INSTANCE_TYPES[0],
        "SupportedTrainingInstanceTypes": list(INSTANCE_TYPES),
        "TrainingVolumeSize": 60,
        "TrainingEnableNetworkIsolation": False,
        "DisableOutputCompression": False,
        "TrainingInstanceTypeVariants": {"Variants": {}},
    }
