"""The backend connected to its emulator: for rehearsals, and what the conformance suite tests it with."""

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tunebridge.backend import Rehearsal
from tunebridge.spec import JobSpec
from tunebridge.testing.case import BackendCase, small_dataset
from tunebridge.training.config import NANO
from tunebridge_huggingface import client
from tunebridge_huggingface.backend import HuggingFaceBackend
from tunebridge_huggingface.emulator import Emulator
from tunebridge_huggingface.info import INFO

JOB = {
    "backend": "huggingface",
    "base_model": NANO,
    "data": {"train": "rows.jsonl"},
    "hyperparameters": {"epochs": 20, "batch_size": 4},
}


def rehearse(folder: Path) -> Rehearsal:
    """Return the backend connected to an emulator whose account lies in a folder."""
    return Rehearsal(connected(Emulator(folder).start()), base_model=NANO)


def connected(emulator: Emulator) -> HuggingFaceBackend:
    """Return the backend for which the hub is the emulator, with its own account's token."""

    def connect(connection: Mapping[str, Any]) -> client.Remote:
        return client.Remote(client.Access(emulator.token, emulator.wire.url), connection.get("namespace"))

    return HuggingFaceBackend(connect)


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
        secrets={"HF_TOKEN": "hf_sentinel8d1f0c9be7a24653"},
    )


@cache
def _emulator() -> Emulator:
    return Emulator(Path(tempfile.mkdtemp(prefix="tunebridge-huggingface-"))).start()
