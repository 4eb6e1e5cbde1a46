"""A managed online endpoint for a job's adapter or model: what is made, what it costs, how it is asked.

Azure's own objects are made here too, with the SDK imported inside functions only.
"""

import shutil
from pathlib import Path
from typing import Any

from tunebridge.cost.price import PriceBook, packaged
from tunebridge.job import Deployment
from tunebridge.training.bundle import requirements, write_source
from tunebridge.training.config import NANO, RANDOM
from tunebridge_azureml.jobs import BASE_IMAGE, PYTHON, model_name

DEPLOYMENT = "tuned"
"""The one deployment below an endpoint; requests name it, so that no share of traffic has to be set."""
MODEL_VERSION = "1"
READY = "Succeeded"
SERVER = "azureml-inference-server-http>=1.4"
SCORE = "score.py"
ROWS_PER_CALL = 4
"""Conversations per call: a call must be answered within the service's three minutes."""
TIMEOUT_MILLISECONDS = 180_000
"""The longest that the service allows (`OnlineRequestSettings` in Microsoft's reference, seen 2026-11-25)."""


def planned(name: str, machine: str) -> Deployment:
    """Return the endpoint that would be made; its price is that of its machine."""
    row = PriceBook([packaged(__package__)]).find("azureml", "training", machine)
    if row is None:
        return Deployment(name=name, price_note=f"no price of {machine} is known here; see Azure's price list")
    note = f"{machine} in {row.region}: {row.told}"
    return Deployment(name=name, usd_per_hour=row.usd, price_note=note)


def write_code(folder: Path, base_model: str) -> Path:
    """Write what the endpoint runs into a new folder: this package and the script that the server calls."""
    shutil.rmtree(folder, ignore_errors=True)  # an earlier attempt may have been cut short
    write_source(folder, with_nano=base_model in (NANO, RANDOM))
    shutil.copyfile(Path(__file__).parent / "container" / SCORE, folder / SCORE)
    return folder


def online_endpoint(name: str) -> Any:
    """Return an endpoint that asks for a key."""
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    return ManagedOnlineEndpoint(name=name, auth_mode="key", tags={"tunebridge_job": name})


def model(name: str, uri: str) -> Any:
    """Return the record by which a deployment finds what the job left; nothing is copied."""
    from azure.ai.ml.entities import Model

    return Model(name=model_name(name), version=MODEL_VERSION, path=uri, type="custom_model")


def online_deployment(name: str, code: Path, machine: str) -> Any:
    """Return the deployment of an endpoint: one machine that runs our script over the job's model."""
    from azure.ai.ml.entities import CodeConfiguration, ManagedOnlineDeployment, OnlineRequestSettings

    return ManagedOnlineDeployment(
        name=DEPLOYMENT,
        endpoint_name=name,
        model=f"azureml:{model_name(name)}:{MODEL_VERSION}",
        code_configuration=CodeConfiguration(code=str(code), scoring_script=SCORE),
        environment=_environment(),
        request_settings=OnlineRequestSettings(request_timeout_ms=TIMEOUT_MILLISECONDS),
        instance_type=machine,
        instance_count=1,
        tags={"tunebridge_job": name},
    )


def _environment() -> Any:
    from azure.ai.ml.entities import Environment

    packages = [f"python={PYTHON}", "pip", {"pip": [*requirements(), SERVER]}]
    return Environment(image=BASE_IMAGE, conda_file={"channels": ["conda-forge"], "dependencies": packages})
