"""The backend connected to its emulator: for rehearsals, and what the conformance suite tests it with."""

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tunebridge.backend import Rehearsal
from tunebridge.spec import JobSpec
from tunebridge.testing.case import BackendCase, small_dataset
from tunebridge_aws.session import Session
from tunebridge_aws.wire import REGION
from tunebridge_bedrock.backend import BedrockBackend
from tunebridge_bedrock.client import Remote
from tunebridge_bedrock.emulator import BUCKET, ROLE, Emulator
from tunebridge_bedrock.info import INFO

BASE_MODEL = "amazon.nova-lite-v1:0"
STAND_INS: dict[str, Any] = {"region": REGION, "role_arn": ROLE, "bucket": BUCKET}
JOB = {
    "backend": "bedrock",
    "base_model": BASE_MODEL,
    "data": {"train": "rows.jsonl"},
    "hyperparameters": {"epochs": 5},
    "options": {"bedrock": STAND_INS},
}


def rehearse(folder: Path) -> Rehearsal:
    """Return the backend connected to an emulator whose account lies in a folder."""
    return Rehearsal(connected(Emulator(folder).start()), base_model=BASE_MODEL, options=STAND_INS)


def connected(emulator: Emulator) -> BedrockBackend:
    """Return the backend for which every region and account is the emulator, in which every bucket named is there."""
    account = emulator.account
    session = Session("bedrock", REGION, endpoint_url=account.wire.url, credentials=account.credentials)

    def connect(connection: Mapping[str, Any]) -> Remote:
        account.buckets.create(connection.get("bucket", BUCKET))
        return Remote(session, connection)

    return BedrockBackend(connect)


def case() -> BackendCase:
    """Return the backend with a job of some seconds, in an account of its own."""
    emulator = _emulator()
    return BackendCase(
        info=INFO,
        spec=JobSpec.model_validate(JOB),
        dataset=small_dataset(validation=True),
        open=lambda: connected(emulator),
        inject=emulator.faults.inject,
        count_remote_jobs=lambda: len(emulator.jobs()),
        secrets={"AWS_SECRET_ACCESS_KEY": "sentinel5f0c1d9ab7e24", "AWS_SESSION_TOKEN": "sentinel77c1d9ab7e24"},
    )


@cache
def _emulator() -> Emulator:
    return Emulator(Path(tempfile.mkdtemp(prefix="tunebridge-bedrock-"))).start()
