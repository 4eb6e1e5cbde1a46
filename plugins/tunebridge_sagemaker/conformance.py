"""The backend connected to its emulator: for rehearsals, and what the conformance suite tests it with."""

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tunebridge.backend import Rehearsal
from tunebridge.spec import JobSpec
from tunebridge.testing.case import BackendCase, Gap, small_dataset
from tunebridge.training.config import NANO
from tunebridge_aws.session import Session
from tunebridge_aws.wire import REGION
from tunebridge_sagemaker.backend import SageMakerBackend
from tunebridge_sagemaker.client import Remote
from tunebridge_sagemaker.emulator import BUCKET, ROLE, Emulator
from tunebridge_sagemaker.info import INFO

SETTLE_SECONDS = 0.5
"""The emulator's log is hardly later than that, even on a machine with much to do."""
STAND_INS: dict[str, Any] = {"region": REGION, "role_arn": ROLE, "bucket": BUCKET}
JOB = {
    "backend": "sagemaker",
    "base_model": NANO,
    "data": {"train": "rows.jsonl"},
    "hyperparameters": {"epochs": 2, "batch_size": 4},
    "options": {"sagemaker": {**STAND_INS, "threads": 1}},
}


def rehearse(folder: Path) -> Rehearsal:
    """Return the backend connected to an emulator whose account lies in a folder."""
    return Rehearsal(connected(Emulator(folder).start()), base_model=NANO, options=STAND_INS)


def connected(emulator: Emulator) -> SageMakerBackend:
    """Return the backend for which every region and account is the emulator, in which every bucket named is there."""
    account = emulator.account
    session = Session("sagemaker", REGION, endpoint_url=account.wire.url, credentials=account.credentials)

    def connect(connection: Mapping[str, Any]) -> Remote:
        account.buckets.create(connection.get("bucket", BUCKET))
        return Remote(session, connection)

    return SageMakerBackend(connect, settle_seconds=SETTLE_SECONDS)


def case() -> BackendCase:
    """Return the backend with a job of some seconds, in an account of its own."""
    emulator = shared_emulator()
    return BackendCase(
        info=INFO,
        spec=JobSpec.model_validate(JOB),
        dataset=small_dataset(validation=True),
        open=lambda: connected(emulator),
        inject=emulator.faults.inject,
        count_remote_jobs=lambda: len(emulator.jobs()),
        gaps={
            "methods_match_capabilities": Gap(
                "vendor does not offer", "reinforcement is known to the mode serverless; the case is a training_job"
            )
        },
        secrets={"AWS_SECRET_ACCESS_KEY": "sentinel5f0c1d9ab7e24", "AWS_SESSION_TOKEN": "sentinel77c1d9ab7e24"},
    )


@cache
def shared_emulator() -> Emulator:
    """Return the emulator of the suite."""
    return Emulator(Path(tempfile.mkdtemp(prefix="tunebridge-sagemaker-"))).start()
