"""An adapter of a real installation of Gradient.AI: `pytest -m live tests/live/test_gradient.py`.

Needs GRADIENT_API_URL, GRADIENT_ACCESS_TOKEN, GRADIENT_WORKSPACE_ID and TUNEBRIDGE_LIVE_GRADIENT_MODEL (a base
model's slug). Cost: 24 short rows, 1 epoch, whatever the installation asks for it; the public service is closed. The
adapter is deleted.
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
ASKED = [(Message(role="user", content="What colour is the red ball?"),)]


@pytest.mark.timeout(3600)
def test_a_life(tmp_path: Path) -> None:
    host, model = (os.environ.get(name) for name in ("GRADIENT_API_URL", "TUNEBRIDGE_LIVE_GRADIENT_MODEL"))
    if not host or not model:
        pytest.skip("set GRADIENT_API_URL and TUNEBRIDGE_LIVE_GRADIENT_MODEL")
    file = tmp_path / "job.yaml"
    file.write_text(f"backend: gradient\nbase_model: {model}\ndata: {{train: {ROWS}}}\n")
    client = Client(tmp_path / "store")
    overrides = [f"options.gradient.host={host}", "hyperparameters.epochs=1"]
    job = client.wait(client.submit(file, overrides=overrides).id)
    assert job.status == JobStatus.succeeded
    assert list(client.generate(job.id, ASKED, GenerationParameters(max_tokens=8)))
    client.backend("gradient").delete(job)
