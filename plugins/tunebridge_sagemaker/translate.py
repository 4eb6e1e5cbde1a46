"""JobSpec -> a CreateTrainingJob request as a payload: pure, no I/O, no SDK.

The payload has `connection` (where), `request` (the service's own words, without what is known only when the files are
uploaded), and `run` (the trainer's RunConfig) or `rows` (which shape the files have), by mode. In the mode `jumpstart`
`catalogue` says which recipe is asked for.
"""

from typing import Any

from tunebridge.capabilities import Capabilities
from tunebridge.data.dataset import Dataset
from tunebridge.plan import Plan, Translation
from tunebridge.spec import JobSpec
from tunebridge_aws.options import CONNECTION
from tunebridge_sagemaker import jumpstart, serverless, training_job
from tunebridge_sagemaker.options import SageMakerOptions

FIELDS = frozenset(
    {
        *training_job.FIELDS,
        *serverless.FIELDS,
        *jumpstart.FIELDS,
        *(f"options.sagemaker.{name}" for name in SageMakerOptions.model_fields),
    }
)
MODES: dict[str, Any] = {"training_job": training_job, "serverless": serverless, "jumpstart": jumpstart}
"""Mode -> the module that translates it."""
COMMON = {
    **CONNECTION,
    "mode": "connection.mode",
    "endpoint_instance_type": "connection.endpoint_instance_type",
    "role_arn": "request.RoleArn",
    "tags": "tags",
    "subnets": "request.VpcConfig.Subnets",
    "security_groups": "request.VpcConfig.SecurityGroupIds",
}


def translate(spec: JobSpec, dataset: Dataset, capabilities: Capabilities) -> Plan:
    """Return the plan of a job, in the mode that its options name."""
    job = Translation(spec, dataset, backend="sagemaker", capabilities=capabilities)
    mode = spec.options.get("sagemaker", {}).get("mode", "training_job")
    chosen = MODES.get(mode, training_job)  # the schema refuses a mode that there is not
    sent_as = {**training_job.SENT_AS, **serverless.SENT_AS, **jumpstart.SENT_AS, **chosen.SENT_AS, **COMMON}
    options = job.options(SageMakerOptions, sent_as)
    for name, default in (("mode", "training_job"), ("prefix", "tunebridge")):
        job.take(f"options.sagemaker.{name}", f"connection.{name}", default=default, source="the backend's default")
    chosen.translate(job, options)
    _refuse_of_another_mode(job, options, mode)
    return job.plan()


def _refuse_of_another_mode(job: Translation, options: SageMakerOptions, mode: str) -> None:
    owners: dict[str, list[str]] = {}
    for owner, module in MODES.items():
        for name in module.SENT_AS:
            owners.setdefault(name, []).append(owner)
    for name, of_it in owners.items():
        if mode not in of_it and getattr(options, name) is not None and job.is_set(f"options.sagemaker.{name}"):
            job.refuse(f"options.sagemaker.{name}", f"it belongs to the mode {' or '.join(of_it)}; remove it")
