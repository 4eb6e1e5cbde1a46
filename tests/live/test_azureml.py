"""A job in a real Azure ML workspace: `pytest -m live tests/live/test_azureml.py`.

Needs `az login` (or a service principal's variables), AZUREML_ARM_SUBSCRIPTION, AZUREML_ARM_RESOURCEGROUP,
AZUREML_ARM_WORKSPACE_NAME, and TUNEBRIDGE_LIVE_MACHINE, a serverless machine type such as Standard_DS3_v2 (no GPU is
needed: the shipped model is tuned). Cost: some 30 minutes of that machine, most of it the build of the image at
the first time; below 0.20 USD on Standard_DS3_v2. What the job left is deleted at the end, its record stays.
"""

import os
from pathlib import Path

import pytest

from tunebridge.backend import GenerationParameters
from tunebridge.client import Client
from tunebridge.data.example import Message
from tunebridge.job import JobStatus

pytestmark = pytest.mark.live

ROWS = Path(__file__).parent.parent.parent / "examples" / "jobs" / "colours.jsonl"
VARIABLES = {
    "subscription": "AZUREML_ARM_SUBSCRIPTION",
    "resource_group": "AZUREML_ARM_RESOURCEGROUP",
    "workspace": "AZUREML_ARM_WORKSPACE_NAME",
    "instance_type": "TUNEBRIDGE_LIVE_MACHINE",
}


@pytest.mark.timeout(3 * 3600)
def test_a_life(tmp_path: Path) -> None:
    missing = [variable for variable in VARIABLES.values() if variable not in os.environ]
    if missing:
        pytest.skip(f"set {', '.join(missing)}")
    file = tmp_path / "job.yaml"
    file.write_text(f"backend: azureml\nbase_model: tunebridge/nano\ndata: {{train: {ROWS}}}\n")
    overrides = [f"options.azureml.{name}={os.environ[variable]}" for name, variable in VARIABLES.items()]
    client = Client(tmp_path / "store")
    assert client.check("azureml").ok
    job = client.wait(client.submit(file, overrides=overrides).id)
    assert job.status == JobStatus.succeeded
    assert client.metrics(job.id)
    asked = [(Message(role="user", content="What colour is the red ball?"),)]
    assert list(client.generate(job.id, asked, GenerationParameters(max_tokens=8)))
    client.backend("azureml").delete(job)
