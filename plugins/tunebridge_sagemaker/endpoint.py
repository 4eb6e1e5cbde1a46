"""An endpoint for a tuned model: what is made for it, what it costs, and how it is asked."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunebridge.errors import InvalidRequest
from tunebridge.job import Deployment
from tunebridge_sagemaker import instances

VARIANT = "tuned"
ROWS_PER_CALL = 4
"""Conversations per call: a call must be answered within a minute."""
GONE = ("Deleting",)


def planned(name: str, described: Mapping[str, Any], connection: Mapping[str, Any]) -> Deployment:
    """Return the endpoint that would be made, with its hourly price."""
    usd, note = instances.price(instance_type(described, connection), str(connection["region"]))
    return Deployment(name=name, usd_per_hour=usd, price_note=note)


def requests(
    name: str, described: Mapping[str, Any], connection: Mapping[str, Any], tags: Sequence[Mapping[str, str]]
) -> dict[str, dict[str, Any]]:
    """Return what is to be made, in order: the model, its configuration, the endpoint; all under one name."""
    machine, region = instance_type(described, connection), str(connection["region"])
    container = {
        "Image": instances.inference_image_uri(region, machine),
        "ModelDataUrl": described["ModelArtifacts"]["S3ModelArtifacts"],
        "Environment": {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"},
    }
    network = {key: described[key] for key in ("VpcConfig", "EnableNetworkIsolation") if key in described}
    variant = {"VariantName": VARIANT, "ModelName": name, "InstanceType": machine, "InitialInstanceCount": 1}
    key = {"KmsKeyId": connection["kms_key_id"]} if connection.get("kms_key_id") else {}
    return {
        "model": {
            "ModelName": name,
            "PrimaryContainer": container,
            "ExecutionRoleArn": described["RoleArn"],
            "Tags": list(tags),
            **network,
        },
        "endpoint_config": {
            "EndpointConfigName": name,
            "ProductionVariants": [variant],
            "Tags": list(tags),
            **key,
        },
        "endpoint": {"EndpointName": name, "EndpointConfigName": name, "Tags": list(tags)},
    }


def instance_type(described: Mapping[str, Any], connection: Mapping[str, Any]) -> str:
    """Return the machine of an endpoint: the one that the options name, or that of the training."""
    return str(connection.get("endpoint_instance_type") or described["ResourceConfig"]["InstanceType"])


def state(known: Deployment, found: Mapping[str, Any]) -> Deployment | None:
    """Return an endpoint as the service describes it, None when it is going."""
    if found["EndpointStatus"] in GONE:
        return None
    update = {
        "is_ready": found["EndpointStatus"] == "InService",
        "backend_status": found["EndpointStatus"],
        "since": found["CreationTime"],
    }
    return known.model_copy(update=update)


def check_deployable(described: Mapping[str, Any]) -> None:
    """Refuse what an endpoint of ours could not load."""
    channels = [channel["ChannelName"] for channel in described.get("InputDataConfig", [])]
    if "run" not in channels and "ServerlessJobConfig" not in described:
        why = "a model of the catalogue has containers of its own. Deploy it from the console or by the SageMaker SDK."
    elif "ServerlessJobConfig" in described:
        why = "a serverless job leaves a model package. Deploy it from the console or by the SageMaker SDK."
    elif "model" in channels and described.get("HyperParameters", {}).get("adapter.type") != "full":
        why = "the adapter's base model lies in your bucket, which the endpoint does not get. Download the adapter."
    else:
        return
    raise InvalidRequest(why, backend="sagemaker", operation="deploy")
