"""What only Bedrock has: `options.bedrock` in a job file."""

from typing import Annotated, Any

from pydantic import Field

from tunebridge_aws.options import AmazonOptions


class BedrockOptions(AmazonOptions):
    """Where a job runs, and what only Bedrock understands."""

    model_name: Annotated[str, Field(pattern=r"^([0-9a-zA-Z][_-]?){1,63}$")] | None = None
    """Name of the tuned model; unset: the job's id."""
    reinforcement: dict[str, Any] | None = None
    """Reinforcement only: the service's own `rftConfig`, with its `graderConfig`; sent as it is."""
    hyperparameters: dict[str, str] | None = None
    """Hyperparameters of the model in the service's own words, such as `learningRateWarmupSteps`; sent as they are."""
