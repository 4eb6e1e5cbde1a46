"""What only Hugging Face Jobs has: `options.huggingface` in a job file."""

from typing import Annotated

from pydantic import Field, StringConstraints

from tunebridge.training.options import TrainerOptions

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


class HuggingFaceOptions(TrainerOptions):
    """Who pays, on which machine the trainer runs, and where its result goes."""

    namespace: Annotated[str, StringConstraints(pattern=f"^{NAME}$")] | None = None
    """User or organisation that owns the job and pays for it; unset: the user of the token."""
    flavor: str | None = None
    """Kind of machine, such as `l4x1`; unset: the cheapest one that fits the model's size."""
    image: str = "python:3.12"
    """Docker image with Python 3.11 or newer; what it lacks is installed, so one with PyTorch starts faster."""
    timeout_hours: Annotated[float, Field(gt=0, le=168)] = 24.0
    """After how long the service ends the job, whatever it does; its own default of half an hour is never used."""
    hub_model_id: Annotated[str, StringConstraints(pattern=f"^{NAME}/{NAME}$")] | None = None
    """Repository that the result is pushed to, private where it is new; unset: `NAMESPACE/` and the job's id."""
