"""JobSpec -> a CreateTrainingJob request as a payload: pure, no I/O, no SDK.

The payload has `connection` (where), `request` (the service's own words, without what is known only when the files are
uploaded), and `run` (the trainer's RunConfig) or `rows` (which shape the files have), by mode.
"""

from tunebridge.capabilities import Capabilities
from tunebridge.data.dataset import Dataset
from tunebridge.plan import Plan, Translation
from tunebridge.spec import JobSpec
from tunebridge_aws.options import CONNECTION
from tunebridge_sagemaker import serverless, training_job
from tunebridge_sagemaker.options import SageMakerOptions

FIELDS = frozenset(
    {
        *training_job.FIELDS,
        *serverless.FIELDS,
        *(f"options.sagemaker.{name}" for name in SageMakerOptions.model_fields),
    }
)
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
    sent_as = {**COMMON, **training_job.SENT_AS, **serverless.SENT_AS}
    options = job.options(SageMakerOptions, sent_as)
    for name, default in (("mode", "training_job"), ("prefix", "tunebridge")):
        job.take(f"options.sagemaker.{name}", f"connection.{name}", default=default, source="the backend's default")
    if mode == "serverless":
        serverless.translate(job, options)
    else:
        training_job.translate(job, options)
    if mode == "jumpstart":
        job.refuse("options.sagemaker.mode", "jumpstart is not offered yet; use training_job or serverless")
    _refuse_of_another_mode(job, options, mode)
    return job.plan()


def _refuse_of_another_mode(job: Translation, options: SageMakerOptions, mode: str) -> None:
    belonging = {"serverless": serverless.SENT_AS, "training_job": training_job.SENT_AS}
    for owner, knobs in belonging.items():
        for name in knobs:
            if owner != mode and getattr(options, name) is not None and job.is_set(f"options.sagemaker.{name}"):
                job.refuse(f"options.sagemaker.{name}", f"it belongs to the mode {owner}; remove it")
