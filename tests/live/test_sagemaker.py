"""A job at SageMaker with an endpoint: `pytest -m live tests/live/test_sagemaker.py`.

Needs AWS credentials, TUNEBRIDGE_LIVE_AWS_ROLE, TUNEBRIDGE_LIVE_AWS_BUCKET and AWS_REGION, and a quota of one
ml.g5.xlarge for training, spot training and endpoints each. Cost: some 15 minutes of training twice and 20 of an
endpoint at 1.41 USD an hour: about 1.20 USD. Everything is removed at the end, also after a failure.
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
NEEDED = ("TUNEBRIDGE_LIVE_AWS_ROLE", "TUNEBRIDGE_LIVE_AWS_BUCKET", "AWS_REGION")
READY_SECONDS = 1800


@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("spot", ["false", "true"])
def test_a_life_at_sagemaker(spot: str, tmp_path: Path) -> None:
    if missing := [name for name in NEEDED if name not in os.environ]:
        pytest.skip(f"set {', '.join(missing)}")
    place = f"region: {os.environ['AWS_REGION']}, bucket: {os.environ['TUNEBRIDGE_LIVE_AWS_BUCKET']}"
    role = f"role_arn: '{os.environ['TUNEBRIDGE_LIVE_AWS_ROLE']}', instance_type: ml.g5.xlarge, spot: {spot}"
    file = tmp_path / "job.yaml"
    file.write_text(
        f"backend: sagemaker\nbase_model: tunebridge/nano\ndata: {{train: {ROWS}}}\nbudget: {{max_hours: 0.5}}\n"
        f"options: {{sagemaker: {{{place}, {role}}}}}\n"
    )
    client = Client(tmp_path / "store")
    job = client.wait(client.submit(file).id)
    try:
        assert client.metrics(job.id)
        assert client.download(job.id, tmp_path / "results")
        if spot == "false":
            _ask_an_endpoint(client, job.id)
    finally:
        client.undeploy(job.id)
        client.backend("sagemaker").delete(job)


def _ask_an_endpoint(client: Client, job_id: str) -> None:
    job, deadline = client.deploy(job_id), time.monotonic() + READY_SECONDS
    while job.deployment and not job.deployment.is_ready and time.monotonic() < deadline:
        time.sleep(30)
        job = client.deployment(job_id)
    asked = [(Message(role="user", content="What colour is the red ball?"),)]
    assert list(client.generate(job_id, asked, GenerationParameters(max_tokens=8)))
