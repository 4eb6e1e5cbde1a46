"""What only SageMaker has: `options.sagemaker` in a job file."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tunebridge.training.options import TrainerOptions
from tunebridge_aws.options import AmazonOptions

Mode = Literal["training_job", "serverless", "jumpstart"]


class SageMakerOptions(TrainerOptions, AmazonOptions):
    """How a job runs on SageMaker, and the trainer's own knobs for the mode `training_job`."""

    mode: Mode = "training_job"
    """`training_job`: our trainer on a rented machine; `serverless`: Amazon's own recipes, billed by token;
    `jumpstart`: a model of the catalogue by its own training script, which needs the extra `jumpstart`."""
    instance_type: Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")] | None = None
    """Machine to rent; unset: the smallest with a GPU that fits the model, by its name."""
    image_uri: str | None = None
    """Container image; unset: Amazon's PyTorch image."""
    volume_gb: Annotated[int, Field(ge=1)] | None = None
    """Disk of the machine; unset: enough for the image and a model."""
    spot: bool | None = None
    """Rent spare capacity, which is cheaper and may be interrupted; the job goes on from its last checkpoint."""
    max_runtime_seconds: Annotated[int, Field(ge=60, le=2_419_200)] | None = None
    """Seconds after which the service ends the job; unset: from budget.max_hours, or a day."""
    max_wait_seconds: Annotated[int, Field(ge=60)] | None = None
    """Spot: seconds for waiting and running together; unset: the run's own limit and a day."""
    max_pending_seconds: Annotated[int, Field(ge=1800, le=2_419_200)] | None = None
    """Seconds that the job may wait for capacity."""
    keep_alive_seconds: Annotated[int, Field(ge=0, le=21_600)] | None = None
    """Seconds that the machine is kept, and billed, for a next job."""
    retries: Annotated[int, Field(ge=1, le=30)] | None = None
    """How often the service may start the job again after a fault of its own."""
    network_isolation: bool | None = None
    """Cut the container off from every network: the image must hold what the trainer requires, the model lies in S3."""
    endpoint_instance_type: Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")] | None = None
    """Machine of an endpoint that `tunebridge deploy` makes; unset: that of the training."""
    accept_eula: bool | None = None
    """Serverless, jumpstart: your word that you accept the model's licence; it is never given for you."""
    model_package_group_arn: str | None = None
    """Serverless: the group in which the tuned model is registered; needed there."""
    model_version: str | None = None
    """Jumpstart: version of the model in the catalogue; unset: the newest."""
    hub: str | None = None
    """Serverless, jumpstart: hub of the base model; unset: Amazon's public one."""
    sequence_length: Annotated[str, Field(pattern=r"^\d+K$")] | None = None
    """Serverless: tokens per row, such as `4K`; unset: from hyperparameters.max_length or the recipe."""
    technique: Literal["RLVR", "RLAIF"] | None = None
    """Serverless, method `reinforcement`: rewards by a function of yours (RLVR) or by a model that judges (RLAIF)."""
    evaluator_arn: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:(sagemaker|lambda):.+$")] | None = None
    """Serverless, method `reinforcement`: the reward function or the judge's prompt; unset: the recipe's own."""
    recipe: dict[str, str] | None = None
    """Serverless, jumpstart: hyperparameters of the model's recipe, in its own words; they are sent as they are."""

    @model_validator(mode="after")
    def _waits_for_spot(self) -> "SageMakerOptions":
        if self.max_wait_seconds is not None and not self.spot:
            raise ValueError("max_wait_seconds belongs to spot; set spot: true, or remove it")
        return self
