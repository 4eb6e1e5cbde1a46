"""What only Azure ML has: `options.azureml` in a job file."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tunebridge.training.options import TrainerOptions


class AzureMLOptions(TrainerOptions):
    """Which workspace and machine, what stands on it, and the knobs of the trainer."""

    subscription: str
    """Id of the Azure subscription."""
    resource_group: str
    workspace: str
    mode: Literal["command", "finetuning"] = "command"
    """`command` runs TuneBridge's trainer; `finetuning` orders a managed job for a model of Azure's registries."""
    compute: str | None = None
    """Name of a compute cluster of the workspace; unset: serverless."""
    instance_type: str | None = None
    """Serverless: the machine, such as `Standard_NC24ads_A100_v4`."""
    job_tier: Literal["Spot", "Basic", "Standard", "Premium"] | None = None
    """Serverless: `Spot` is cheap and may be interrupted; the run then goes on from its last checkpoint."""
    image: str | None = None
    """Docker image with Python 3.11 or newer; unset: an image of Azure's with what the trainer requires."""
    conda_file: str | None = None
    """Conda file that is installed on top of the image."""
    environment: str | None = None
    """A registered environment instead, such as `azureml:NAME:VERSION`."""
    datastore: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")] = "workspaceblobstore"
    """Blob datastore that the run works in; its results stay there."""
    experiment: str | None = None
    """Name of the experiment that the job is listed under."""
    shm_size: Annotated[str, Field(pattern=r"^\d+[bkmgBKMG]$")] | None = None
    """Shared memory of the container, such as `8g`."""
    git_details: bool | None = None
    """Whether the job carries address, branch and commit of the working folder's repository; unset: no."""
    endpoint_instance_type: str | None = None
    """Machine of `tunebridge deploy`; unset: that of the training."""
    task: Literal["ChatCompletion", "TextCompletion"] | None = None
    """finetuning: what the model learns; unset: ChatCompletion."""

    @model_validator(mode="after")
    def _says_where(self) -> "AzureMLOptions":
        if (self.compute is None) == (self.instance_type is None):
            raise ValueError("say where to run: either compute (a cluster) or instance_type (serverless)")
        if self.compute and self.job_tier:
            raise ValueError("job_tier belongs to serverless jobs; a cluster has a tier of its own. Remove it")
        if self.environment and (self.image or self.conda_file):
            raise ValueError("environment already names an image and its packages; remove image and conda_file")
        return self
