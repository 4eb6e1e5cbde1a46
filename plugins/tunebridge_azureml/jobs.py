"""The SDK's own job objects, made from a plan's request; imports the SDK inside functions only."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunebridge.training.bundle import requirements, start_command

BASE_IMAGE = "mcr.microsoft.com/azureml/openmpi5.0-ubuntu24.04:latest"
"""Azure's own base image, without Python packages; a CUDA runtime comes with PyTorch's wheel."""
PYTHON = "3.12"
INSTANCE_COUNT = 1
"""The trainer works on one machine."""


def command_job(name: str, source: Path, run: Path, work: str, request: Mapping[str, Any]) -> Any:
    """Return a job that trains the run folder in the datastore folder `work`, under our id as its name."""
    from azure.ai.ml import Input, Output, command

    return command(
        name=name,
        display_name=name,
        experiment_name=request.get("experiment"),
        code=str(source),
        command=" ".join(start_command("${{inputs.run}}", "${{outputs.work}}")),
        environment=_environment(request),
        inputs={"run": Input(type="uri_folder", path=str(run), mode="download")},
        outputs={"work": Output(type="uri_folder", path=work, mode="rw_mount")},
        compute=request.get("compute"),
        instance_type=request.get("instance_type"),
        instance_count=INSTANCE_COUNT,
        shm_size=request.get("shm_size"),
        job_tier=request.get("job_tier"),
        tags={"tunebridge_job": name},
    )


def finetuning_job(name: str, rows: Mapping[str, Path], request: Mapping[str, Any]) -> Any:
    """Return a managed job for a model of a registry; its result is registered as `NAME-model`.

    The SDK's `create_finetuning_job` breaks without validation data, so what it would build is built here.
    """
    from azure.ai.ml import Input, Output
    from azure.ai.ml.entities import CustomModelFineTuningJob, JobResources, QueueSettings

    splits = {split: Input(type="uri_file", path=str(path)) for split, path in rows.items()}
    machine, tier = request.get("instance_type"), request.get("job_tier")
    return CustomModelFineTuningJob(
        name=name,
        display_name=name,
        experiment_name=request.get("experiment"),
        task=request["task"],
        model=Input(type="mlflow_model", path=request["model"]),
        training_data=splits["train"],
        validation_data=splits.get("validation"),
        hyperparameters=dict(request.get("hyperparameters", {})),
        compute=request.get("compute"),
        resources=JobResources(instance_types=[machine]) if machine else None,
        queue_settings=QueueSettings(job_tier=tier) if tier else None,
        outputs={"registered_model": Output(type="mlflow_model", name=model_name(name))},
        tags={"tunebridge_job": name},
    )


def model_name(name: str) -> str:
    """Return the name under which a managed job registers its model."""
    return f"{name}-model"


def _environment(request: Mapping[str, Any]) -> Any:
    from azure.ai.ml.entities import Environment

    if request.get("environment"):
        return request["environment"]
    if request.get("image") or request.get("conda_file"):
        return Environment(image=request.get("image", BASE_IMAGE), conda_file=request.get("conda_file"))
    packages = [f"python={PYTHON}", "pip", {"pip": requirements()}]
    return Environment(image=BASE_IMAGE, conda_file={"channels": ["conda-forge"], "dependencies": packages})
