"""A tuning job and a custom job in a real Google Cloud project: `pytest -m live tests/live/test_vertexai.py`.

Needs Application Default Credentials, TUNEBRIDGE_LIVE_GOOGLE_PROJECT and TUNEBRIDGE_LIVE_GOOGLE_BUCKET (in us-
central1). Cost: the tuning job trains 24 short rows for 1 epoch, some 1,000 billable tokens of gemini-2.5-flash-lite
(no price is published in what we could read; a secondary source says 1.50 USD per million); the custom job takes an
n1-standard-4 without a GPU for some 20 minutes, about 0.07 USD at 0.22 USD an hour. The custom job's folder is
deleted; the tuned model and its endpoint stay, and are removed in the console.
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
MODES = {
    "tuning": ["base_model=gemini-2.5-flash-lite", "hyperparameters.epochs=1"],
    "custom_job": [
        "base_model=tunebridge/nano",
        "options.vertexai.mode=custom_job",
        "options.vertexai.machine_type=n1-standard-4",
    ],
}


@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("mode", MODES)
def test_a_life(mode: str, tmp_path: Path) -> None:
    project, bucket = (os.environ.get(f"TUNEBRIDGE_LIVE_GOOGLE_{name}") for name in ("PROJECT", "BUCKET"))
    if not project or not bucket:
        pytest.skip("set TUNEBRIDGE_LIVE_GOOGLE_PROJECT and TUNEBRIDGE_LIVE_GOOGLE_BUCKET")
    file = tmp_path / "job.yaml"
    file.write_text(f"backend: vertexai\nbase_model: x\ndata: {{train: {ROWS}}}\n")
    place = [f"options.vertexai.project={project}", f"options.vertexai.bucket={bucket}"]
    client = Client(tmp_path / "store")
    job = client.wait(client.submit(file, overrides=[*MODES[mode], *place]).id)
    assert job.status == JobStatus.succeeded
    assert list(client.generate(job.id, ASKED, GenerationParameters(max_tokens=8)))
    if mode == "custom_job":
        client.backend("vertexai").delete(job)
