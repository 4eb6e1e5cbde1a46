"""A model that was trained here answers at Bedrock: merged, uploaded, imported, asked by Converse, removed."""

import json
from pathlib import Path
from typing import Any

import pytest

from tunebridge.backend import GenerationParameters
from tunebridge.client import Client
from tunebridge.data.example import Message
from tunebridge.errors import InvalidRequest, SpecError, TuneBridgeError, UnsupportedFeature
from tunebridge.testing.case import small_dataset

pytest.importorskip("boto3")
pytestmark = pytest.mark.torch

from tunebridge_bedrock.conformance import connected  # noqa: E402
from tunebridge_bedrock.emulator import BUCKET, Emulator  # noqa: E402

JOB = {
    "backend": "local",
    "base_model": "tunebridge/nano",
    "hyperparameters": {"epochs": 6, "batch_size": 4, "seed": 1},
    "options": {"local": {"threads": 1}},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Client, str]:
    folder = tmp_path_factory.mktemp("trained")
    small_dataset(rows=24).train.write(folder / "rows.jsonl")
    (folder / "job.json").write_text(json.dumps({**JOB, "data": {"train": str(folder / "rows.jsonl")}}))
    client = Client(folder / "home")
    return client, client.wait(client.submit(folder / "job.json").id).id


def deployed(client: Client, job_id: str) -> Any:
    job = client.deploy(job_id, to="bedrock", rehearse=True)
    while job.deployment and not job.deployment.is_ready:
        job = client.deployment(job_id)
    return job


@pytest.mark.slow
def test_a_model_trained_here_answers_there_as_it_does_here(trained: tuple[Client, str]) -> None:
    client, job_id = trained
    asked = [(Message(role="user", content=f"What is the colour of ball {number}?"),) for number in range(3)]
    few = GenerationParameters(max_tokens=4)
    here = [answer.output for answer in client.generate(job_id, asked, few)]
    quoted = client.quote(job_id, to="bedrock", rehearse=True)
    assert (quoted.backend, quoted.usd_per_hour) == ("bedrock", None)
    assert "custom model units" in quoted.price_note
    assert client.get(job_id).deployment is None
    job = deployed(client, job_id)
    assert (job.backend, job.deployment.backend, job.deployment.backend_status) == ("local", "bedrock", "Completed")
    assert not (job.folder / "merged").exists()
    assert [answer.output for answer in client.generate(job_id, asked, few)] == here
    assert client.deploy(job_id, to="bedrock", rehearse=True).deployment == job.deployment
    with pytest.raises(TuneBridgeError, match="has an endpoint at bedrock"):
        client.deploy(job_id, to="sagemaker")
    emulator = Emulator(client.store.home / "rehearsals" / "bedrock").start()
    assert emulator.imports.standing() == [job.deployment.name]
    client.undeploy(job_id)
    assert (emulator.imports.standing(), list(emulator.account.buckets.keys(BUCKET))) == ([], [])
    assert client.get(job_id).deployment is None
    emulator.account.wire.stop()


def test_a_failed_import_says_why_and_can_be_taken_back(trained: tuple[Client, str]) -> None:
    client, job_id = trained
    emulator = Emulator(client.store.home / "rehearsals" / "bedrock").start()
    emulator.faults.inject("job_fails")
    with pytest.raises(InvalidRequest, match="could not read the weights. Undeploy"):
        deployed(client, job_id)
    assert client.undeploy(job_id).deployment is None
    emulator.account.wire.stop()


def test_where_to_is_asked_of_the_job_file(trained: tuple[Client, str]) -> None:
    client, job_id = trained
    with pytest.raises(SpecError, match="bucket, region, role_arn. Set it in the job file"):
        client.deploy(job_id, to="bedrock")
    with pytest.raises(UnsupportedFeature, match="sagemaker backend does not offer deploy for models"):
        client.deploy(job_id, to="sagemaker")
    assert client.get(job_id).deployment is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"modelDataSource": {"s3DataSource": {"s3Uri": "https://bucket/model"}}}, "does not satisfy the pattern"),
        ({"importedModelName": "bad name"}, "does not satisfy the pattern"),
        ({"jobTags": [{"key": "a", "value": "v" * 257}]}, "less than or equal to 256"),
    ],
)
def test_an_import_is_checked_strictly(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    emulator = Emulator(tmp_path / "account").start()
    request = {
        "jobName": "one",
        "importedModelName": "one",
        "clientRequestToken": "one",
        "roleArn": "arn:aws:iam::123456789012:role/tuner",
        "modelDataSource": {"s3DataSource": {"s3Uri": f"s3://{BUCKET}/model/"}},
    }
    with pytest.raises(InvalidRequest, match=says):
        connected(emulator)._connect({}).import_model({**request, **changes})
    emulator.account.wire.stop()
