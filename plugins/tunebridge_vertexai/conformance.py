"""The backend connected to its emulator: for rehearsals, and what the conformance suite tests it with."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from tunebridge.backend import Rehearsal
from tunebridge.spec import JobSpec
from tunebridge.testing.case import BackendCase, small_dataset
from tunebridge.training.config import NANO
from tunebridge_vertexai import client
from tunebridge_vertexai.backend import VertexAIBackend
from tunebridge_vertexai.emulator import Emulator
from tunebridge_vertexai.info import INFO, PROFILES
from tunebridge_vertexai.models import Profile

MODELS: Mapping[Profile, str] = {
    "gemini": "gemini-2.5-flash",
    "open_models": "meta/llama3_1@llama-3.1-8b-instruct",
    "custom_job": NANO,
}
STAND_INS = {"project": "rehearsal", "bucket": "rehearsal-bucket"}
EPOCHS = 8
REFUSALS = 3
"""The client of custom jobs renews its token twice and asks again before it believes that it is refused."""


def rehearse(folder: Path) -> Rehearsal:
    """Return the backend connected to an emulator whose project lies in a folder."""
    return Rehearsal(connected(Emulator(folder).start()), base_model=MODELS["gemini"], options=STAND_INS)


def connected(emulator: Emulator) -> VertexAIBackend:
    """Return the backend for which every project and region is the emulator, with its own account's key."""

    def connect(connection: Mapping[str, Any]) -> client.Remote:
        from google.oauth2.service_account import Credentials

        key, scopes = str(emulator.key_file()), [client.SCOPE]
        credentials = Credentials.from_service_account_file(key, scopes=scopes)  # type: ignore[no-untyped-call]
        project, location = (connection.get(key) for key in ("project", "location"))
        place = client.Access(
            credentials,
            project or STAND_INS["project"],
            location or client.DEFAULT_LOCATION,
            vertex_url=emulator.wire.url,
            storage_url=emulator.wire.url,
        )
        return client.Remote(place)

    return VertexAIBackend(connect)


def case(profile: Profile) -> BackendCase:
    """Return the backend with a job of some seconds, in a project of its own."""
    emulator = _emulator(profile)
    mode = {"mode": "custom_job"} if profile == "custom_job" else {}
    job = {
        "backend": "vertexai",
        "base_model": MODELS[profile],
        "data": {"train": "rows.jsonl"},
        "hyperparameters": {"epochs": EPOCHS},
        "options": {"vertexai": {**STAND_INS, **mode}},
    }
    return BackendCase(
        info=replace(INFO, capabilities=PROFILES[profile]),
        spec=JobSpec.model_validate(job),
        dataset=small_dataset(validation=True),
        open=lambda: connected(emulator),
        inject=lambda fault: emulator.faults.inject(
            fault, times=REFUSALS if fault == "bad_credentials" and mode else 1
        ),
        count_remote_jobs=lambda: len(emulator.jobs()),
        secrets={"GOOGLE_API_KEY": "sentinel4b1f0d9ce8a7", "GEMINI_API_KEY": "sentinel1c9e7f24b0a3"},
    )


@cache
def _emulator(profile: Profile) -> Emulator:
    return Emulator(Path(tempfile.mkdtemp(prefix=f"tunebridge-vertexai-{profile}-"))).start()
