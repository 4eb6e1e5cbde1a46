"""The backend connected to its emulator: for rehearsals, and what the conformance suite tests it with."""

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tunebridge.backend import Rehearsal
from tunebridge.spec import JobSpec
from tunebridge.testing.case import BackendCase, small_dataset
from tunebridge_openai import client
from tunebridge_openai.backend import OpenAIBackend
from tunebridge_openai.deployments import Deployments
from tunebridge_openai.emulator import Emulator
from tunebridge_openai.info import INFO

BASE_MODEL = "gpt-4.1-mini-2025-04-14"
JOB = {
    "backend": "openai",
    "base_model": "small",
    "data": {"train": "rows.jsonl"},
    "hyperparameters": {"epochs": 40, "batch_size": 4},
}
CUSTOM = {"service": "custom", "base_url": "https://example.invalid/v1"}
AZURE = {"service": "azure", "base_url": "https://example.invalid/openai/v1"}
RESOURCE = {
    "subscription": "00000000-0000-0000-0000-000000000001",
    "resource_group": "rehearsal",
    "account": "rehearsal",
}
"""Stands in for the resource of an Azure job that names none."""


def rehearse(folder: Path) -> Rehearsal:
    """Return the backend connected to an emulator whose account lies in a folder."""
    return Rehearsal(connected(Emulator(folder).start()), base_model=BASE_MODEL)


def connected(emulator: Emulator) -> OpenAIBackend:
    """Return the backend for which every service is the emulator, in the style that a job's connection asks for."""

    def connect(connection: Mapping[str, Any]) -> client.Remote:
        address = emulator.azure_url if connection.get("service") == "azure" else emulator.url
        address = emulator.wire.url if connection.get("api_version") else address
        return client.open_remote({**connection, "base_url": address}, {"api_key": emulator.key})

    def deployments(connection: Mapping[str, Any]) -> Deployments:
        return Deployments({**RESOURCE, **connection}, lambda: emulator.key, emulator.wire.url)

    return OpenAIBackend(connect, deployments=deployments)


def case(options: Mapping[str, Any] = CUSTOM) -> BackendCase:
    """Return the backend with a job of some seconds at one of its services, in an account of its own."""
    emulator = _emulator()
    return BackendCase(
        info=INFO,
        spec=JobSpec.model_validate({**JOB, "options": {"openai": options}}),
        dataset=small_dataset(validation=True),
        open=lambda: connected(emulator),
        inject=emulator.faults.inject,
        count_remote_jobs=lambda: len(emulator.jobs()),
        secrets={"OPENAI_API_KEY": "sk-sentinel5f0c1d9ab7e24", "AZURE_OPENAI_API_KEY": "sentinel77c1d9ab7e24"},
    )


@cache
def _emulator() -> Emulator:
    return Emulator(Path(tempfile.mkdtemp(prefix="tunebridge-openai-"))).start()
