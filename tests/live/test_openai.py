"""A job at OpenAI, and one at Azure OpenAI with a deployment: `pytest -m live tests/live/test_openai.py`.

OpenAI needs OPENAI_API_KEY of an organisation that may still tune. Cost: 24 rows, 3 epochs, about 2,000 trained
tokens of gpt-4.1-mini at 5 USD a million: 0.01 USD.

Azure needs `az login`, AZURE_OPENAI_API_KEY, TUNEBRIDGE_LIVE_AZURE (the address, `https://X.openai.azure.com/openai/v1/`),
TUNEBRIDGE_LIVE_RESOURCE (`SUBSCRIPTION/GROUP/ACCOUNT`). Cost: the same for training; the Developer deployment has no
hourly fee and is removed at the end.
"""

import os
import time
from pathlib import Path

import pytest

from tunebridge.backend import GenerationParameters
from tunebridge.client import Client
from tunebridge.data.example import Message

pytestmark = pytest.mark.live

ROWS = Path(__file__).parent.parent.parent / "examples" / "jobs" / "colours.jsonl"
ASKED = [(Message(role="user", content="What colour is the red ball?"),)]
READY_SECONDS = 1800


def write_job(folder: Path) -> Path:
    file = folder / "job.yaml"
    text = "backend: openai\nbase_model: gpt-4.1-mini-2025-04-14\n"
    file.write_text(f"{text}data: {{train: {ROWS}}}\nhyperparameters: {{epochs: 3}}\n")
    return file


def need(*variables: str) -> None:
    missing = [variable for variable in variables if variable not in os.environ]
    if missing:
        pytest.skip(f"set {', '.join(missing)}")


@pytest.mark.timeout(6 * 3600)
def test_openai(tmp_path: Path) -> None:
    need("OPENAI_API_KEY")
    client = Client(tmp_path / "store")
    job = client.wait(client.submit(write_job(tmp_path)).id)
    assert list(client.generate(job.id, ASKED, GenerationParameters(max_tokens=8)))
    client.backend("openai").delete(job)


@pytest.mark.timeout(6 * 3600)
def test_azure(tmp_path: Path) -> None:
    need("AZURE_OPENAI_API_KEY", "TUNEBRIDGE_LIVE_AZURE", "TUNEBRIDGE_LIVE_RESOURCE")
    subscription, group, account = os.environ["TUNEBRIDGE_LIVE_RESOURCE"].split("/")
    values = {
        "service": "azure",
        "base_url": os.environ["TUNEBRIDGE_LIVE_AZURE"],
        "training_type": "Developer",
        "subscription": subscription,
        "resource_group": group,
        "account": account,
        "sku": "Developer",
    }
    client = Client(tmp_path / "store")
    overrides = [f"options.openai.{name}={value}" for name, value in values.items()]
    job = client.wait(client.submit(write_job(tmp_path), overrides=overrides).id)
    assert client.quote(job.id).usd_per_hour == 0
    try:
        client.deploy(job.id)
        deadline = time.monotonic() + READY_SECONDS
        while not (found := client.deployment(job.id).deployment) or not found.is_ready:
            assert time.monotonic() < deadline, "the deployment never got ready"
            time.sleep(15)
        assert list(client.generate(job.id, ASKED, GenerationParameters(max_tokens=8)))
    finally:
        client.undeploy(job.id)
