"""A job on a real machine of Hugging Face: `pytest -m live tests/live/test_huggingface.py`.

Needs a token that may run jobs (`hf auth login` or HF_TOKEN) and credits; unset HF_HUB_OFFLINE. Cost: some 20 minutes
of cpu-basic, below 0.01 USD at 0.01 USD an hour. Both repositories are deleted at the end, the job's record stays.
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


@pytest.mark.timeout(3 * 3600)
def test_a_life(tmp_path: Path) -> None:
    if os.environ.get("HF_HUB_OFFLINE") not in (None, "0"):
        pytest.skip("start with HF_HUB_OFFLINE=0")
    file = tmp_path / "job.yaml"
    file.write_text(f"backend: huggingface\nbase_model: tunebridge/nano\ndata: {{train: {ROWS}}}\n")
    client = Client(tmp_path / "store")
    assert client.check("huggingface").ok
    job = client.wait(client.submit(file, overrides=["budget.max_usd=1"]).id)
    assert job.status == JobStatus.succeeded
    assert client.metrics(job.id)
    assert list(client.generate(job.id, ASKED, GenerationParameters(max_tokens=8)))
    client.backend("huggingface").delete(job)
