"""A job at Bedrock with a deployment: `pytest -m live tests/live/test_bedrock.py`.

Needs AWS credentials, TUNEBRIDGE_LIVE_AWS_ROLE (a role that Bedrock may assume), TUNEBRIDGE_LIVE_AWS_BUCKET in
us-east-1. Cost: 24 rows, 1 epoch, some 1,000 trained tokens of Nova Micro, and a few tokens of answers; no rate is
known here, see https://aws.amazon.com/bedrock/pricing/. The deployment and the stored model, which is billed by month,
are removed.
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
NEEDED = ("TUNEBRIDGE_LIVE_AWS_ROLE", "TUNEBRIDGE_LIVE_AWS_BUCKET")
READY_SECONDS = 1800


@pytest.mark.timeout(6 * 3600)
def test_a_life_at_bedrock(tmp_path: Path) -> None:
    if missing := [name for name in NEEDED if name not in os.environ]:
        pytest.skip(f"set {', '.join(missing)}")
    place = f"region: us-east-1, bucket: {os.environ['TUNEBRIDGE_LIVE_AWS_BUCKET']}"
    file = tmp_path / "job.yaml"
    file.write_text(
        f"backend: bedrock\nbase_model: amazon.nova-micro-v1:0:128k\ndata: {{train: {ROWS}}}\n"
        f"hyperparameters: {{epochs: 1}}\n"
        f"options: {{bedrock: {{{place}, role_arn: '{os.environ['TUNEBRIDGE_LIVE_AWS_ROLE']}'}}}}\n"
    )
    client = Client(tmp_path / "store")
    job = client.wait(client.submit(file).id)
    try:
        job, deadline = client.deploy(job.id), time.monotonic() + READY_SECONDS
        while job.deployment and not job.deployment.is_ready and time.monotonic() < deadline:
            time.sleep(30)
            job = client.deployment(job.id)
        asked = [(Message(role="user", content="What colour is the red ball?"),)]
        assert list(client.generate(job.id, asked, GenerationParameters(max_tokens=8)))
    finally:
        client.undeploy(job.id)
        client.backend("bedrock").delete(job)
