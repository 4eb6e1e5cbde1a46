"""Custom Model Import: a model that another backend trained answers at Bedrock.

What stands is an imported model; the import that made it is found by the deployment's name. The service bills the
model by units of compute for as long as it answers, and its storage by month.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from tunebridge.backend import MERGED_FOLDER
from tunebridge.errors import InvalidRequest, SpecError
from tunebridge.job import Deployment, Job
from tunebridge_aws.storage import Location
from tunebridge_bedrock.client import Remote
from tunebridge_bedrock.options import BedrockOptions
from tunebridge_bedrock.translate import JOB_TAG

SOURCE = "https://docs.aws.amazon.com/bedrock/latest/userguide/model-customization-import-model.html"
KEPT = ("region", "bucket", "prefix", "profile", "kms_key_id", "role_arn", "subnets", "security_groups")
"""Options that later calls need."""


def planned(job: Job, options: Mapping[str, Any]) -> Deployment:
    """Return the import that would be made; its name is fresh, because the service keeps imports for ever."""
    try:
        known = BedrockOptions.model_validate(options)
    except ValidationError as error:
        missing = ", ".join(sorted({str(problem["loc"][0]) for problem in error.errors(include_input=False)}))
        raise SpecError(
            f"options.bedrock does not say where to import to: {missing}. Set it in the job file.",
            key="options.bedrock",
        ) from None
    note = f"billed by custom model units while it answers, and by month for storage; no rate is known here: {SOURCE}"
    return Deployment(
        name=f"{job.id}-{secrets.token_hex(3)}",
        price_note=note,
        connection={"imported": True, **known.model_dump(mode="json", include=set(KEPT), exclude_none=True)},
    )


def is_import(job: Job) -> bool:
    """Whether the job is one of another backend, whose model is hosted here."""
    return bool(job.connection.get("imported"))


def deploy(remote: Remote, job: Job) -> Deployment:
    """Upload the merged weights and begin the import, unless it is there already."""
    wanted = _deployment(job)
    if remote.import_job(wanted.name) is None:
        weights = job.folder / MERGED_FOLDER
        if not weights.is_dir():
            raise InvalidRequest("there are no merged weights. Deploy again.", backend="bedrock", operation="deploy")
        place = remote.storage.put_folder(weights, _home(job))
        remote.import_model(request(job, place))
    return state(remote, job) or wanted


def request(job: Job, place: Location) -> dict[str, Any]:
    """Return the body of the create call."""
    name, known = _deployment(job).name, job.connection
    tags = [{"key": JOB_TAG, "value": job.id}]
    body: dict[str, Any] = {
        "jobName": name,
        "importedModelName": name,
        "clientRequestToken": name,
        "roleArn": known["role_arn"],
        "modelDataSource": {"s3DataSource": {"s3Uri": f"{place.uri}/"}},
        "jobTags": tags,
        "importedModelTags": tags,
    }
    if "subnets" in known:
        body["vpcConfig"] = {"subnetIds": known["subnets"], "securityGroupIds": known["security_groups"]}
    if "kms_key_id" in known:
        body["importedModelKmsKeyId"] = known["kms_key_id"]
    return body


def state(remote: Remote, job: Job) -> Deployment | None:
    """Return the imported model as it is now, None where none was imported or it is gone."""
    known = _deployment(job)
    found = remote.import_job(known.name)
    if found is None or (found["status"] == "Completed" and not remote.has_imported(found["importedModelArn"])):
        return None
    if found["status"] == "Failed":
        reason = str(found.get("failureMessage") or "the service gave no reason").rstrip(".")
        raise InvalidRequest(
            f"the import failed: {reason}. Undeploy, mend it, and deploy again.", backend="bedrock", operation="deploy"
        )
    is_ready = found["status"] == "Completed"
    update = {"is_ready": is_ready, "backend_status": found["status"], "since": found["creationTime"]}
    return known.model_copy(update=update)


def model_arn(remote: Remote, job: Job) -> str | None:
    """Return the ARN of the imported model when it can answer."""
    found = remote.import_job(_deployment(job).name)
    return str(found["importedModelArn"]) if found and found["status"] == "Completed" else None


def undeploy(remote: Remote, job: Job) -> None:
    """Delete the imported model and the uploaded weights; an import that still runs cannot be stopped."""
    found = remote.import_job(_deployment(job).name)
    if found and found["status"] == "InProgress":
        raise InvalidRequest(
            "the import still runs and cannot be stopped. Undeploy when it has ended.",
            backend="bedrock",
            operation="undeploy",
        )
    if found and found["status"] == "Completed":
        remote.delete_imported(found["importedModelArn"])
    remote.storage.delete(_home(job))


def _deployment(job: Job) -> Deployment:
    if job.deployment is None:
        raise InvalidRequest("nothing was deployed. Deploy first.", backend="bedrock", operation="deploy")
    return job.deployment


def _home(job: Job) -> Location:
    place = Location(str(job.connection["bucket"]), str(job.connection["prefix"]))
    return place.below("imports", _deployment(job).name)
