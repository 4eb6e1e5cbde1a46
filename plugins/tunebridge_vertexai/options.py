"""What only Vertex AI has: `options.vertexai` in a job file."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from tunebridge.spec import SpecModel
from tunebridge.training.options import TrainerOptions

Folder = Annotated[str, StringConstraints(pattern=r"^gs://[a-z0-9][a-z0-9._-]+(/.*)?$")]


class Distillation(SpecModel):
    """Method `distillation`: which model teaches."""

    base_teacher_model: str | None = None
    """A Gemini model that teaches as it is."""
    tuned_teacher_model_source: str | None = None
    """Resource name of a tuned model that teaches."""


class Reinforcement(SpecModel):
    """Method `reinforcement`: how answers are rewarded; rewards are in the service's own words."""

    reward_config: dict[str, Any] | None = None
    """One reward, as `SingleReinforcementTuningRewardConfig` says it."""
    composite_reward_config: dict[str, Any] | None = None
    """Several weighted rewards, as `CompositeReinforcementTuningRewardConfig` says it."""
    samples_per_prompt: Annotated[int, Field(ge=1)] | None = None
    evaluate_interval: Annotated[int, Field(ge=1)] | None = None
    checkpoint_interval: Annotated[int, Field(ge=1)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    thinking_level: Literal["MINIMAL", "LOW", "MEDIUM", "HIGH"] | None = None


class VertexAIOptions(TrainerOptions):
    """Where the job runs, and what only Vertex AI understands."""

    mode: Literal["tuning", "custom_job"] = "tuning"
    """`tuning`: the service trains; `custom_job`: our trainer runs on a machine that is rented for it."""
    project: str
    """Id of the Google Cloud project that pays."""
    bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$")]
    """Cloud Storage bucket, in the region of the job, that the rows are uploaded to."""
    location: str = "us-central1"
    """Region of the job; open models may be tuned in `global`, Gemini may not."""
    prefix: Annotated[str, StringConstraints(pattern=r"^[^/].*[^/]$|^[^/]$")] = "tunebridge"
    """Folder of the bucket under which each job gets a folder of its own."""
    tuned_model_display_name: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    description: str | None = None
    labels: dict[str, str] | None = None
    """Labels of your own for the job, the tuned model and its endpoint."""
    export_last_checkpoint_only: bool | None = None
    """Keep no checkpoint but the last."""
    pre_tuned_model_checkpoint_id: str | None = None
    """Where base_model is a tuned model (`projects/...`): the checkpoint to go on from."""
    kms_key_name: str | None = None
    """Resource name of a key that encrypts what the job makes; not in `global`."""
    custom_base_model: Folder | None = None
    """Open models only: folder with your own weights of the base model."""
    distillation: Distillation | None = None
    reinforcement: Reinforcement | None = None
    machine_type: str | None = None
    """custom_job only: the machine; unset: `g2-standard-8`, which has one L4 with 24 GB."""
    accelerator_type: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9_]+$")] | None = None
    """custom_job only: the GPU, such as `NVIDIA_L4`; it must be one that the machine can have."""
    image_uri: str | None = None
    """custom_job only: image with Python 3.11 or newer; what it lacks is installed."""
    spot: bool | None = None
    """custom_job only: take spare capacity that may be taken away; the run then goes on from its last checkpoint."""
    timeout_hours: Annotated[float, Field(gt=0, le=168)] | None = None
    """custom_job only: after how long the service ends the job; unset: 24, and less where the budget says so."""
    service_account: str | None = None
    """custom_job only: account that the machine runs as; unset: the project's own for it."""
