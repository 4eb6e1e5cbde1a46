"""The backend connected to its emulator: for rehearsals, and what the conformance suite tests it with."""

import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tunebridge.backend import Rehearsal
from tunebridge.spec import JobSpec
from tunebridge.testing.case import BackendCase, small_dataset
from tunebridge.training.config import NANO
from tunebridge_azureml import client, emulated
from tunebridge_azureml.backend import AzureMLBackend
from tunebridge_azureml.emulator import Emulator
from tunebridge_azureml.info import INFO

STAND_INS = {
    "subscription": emulated.SUBSCRIPTION,
    "resource_group": emulated.GROUP,
    "workspace": emulated.WORKSPACE,
}
MACHINE = {"instance_type": "Standard_NC24ads_A100_v4"}
JOB = {
    "backend": "azureml",
    "base_model": "random",
    "data": {"train": "rows.jsonl"},
    "hyperparameters": {"epochs": 40, "batch_size": 4},
    "options": {"azureml": {**STAND_INS, **MACHINE, "threads": 1}},
}


class Credential:
    """Stands in for DefaultAzureCredential: gives the emulator's own token, whatever it is asked for."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *scopes: str, **options: Any) -> Any:
        """Return the token, good for an hour."""
        from azure.core.credentials import AccessToken

        return AccessToken(self._token, int(time.time()) + 3600)


def rehearse(folder: Path) -> Rehearsal:
    """Return the backend connected to an emulator whose workspace lies in a folder."""
    return Rehearsal(connected(Emulator(folder).start()), base_model=NANO, options={**STAND_INS, **MACHINE})


def connected(emulator: Emulator) -> AzureMLBackend:
    """Return the backend for which every workspace is the emulator's."""
    authority = str(emulator.authority)
    metadata = {
        "azure_portal": emulator.url,
        "resource_manager": f"{emulator.url}/",
        "active_directory": emulator.url,
        "aml_resource_id": emulator.url,
        "storage_endpoint": f"core.localhost:{emulator.wire.port}",
        "registry_discovery_endpoint": f"{emulator.url}/",
    }
    cloud = {"cloud": f"TuneBridge{emulator.wire.port}", "cloud_metadata": metadata}

    def connect(connection: Mapping[str, Any]) -> client.Remote:
        return client.open_remote(
            {**STAND_INS, **connection},
            Credential(emulator.token),
            cloud=cloud,
            variables={"REQUESTS_CA_BUNDLE": authority},
        )

    return AzureMLBackend(connect)


def case() -> BackendCase:
    """Return the backend with a job of some seconds, in a workspace of its own."""
    emulator = _emulator()
    return BackendCase(
        info=INFO,
        spec=JobSpec.model_validate(JOB),
        dataset=small_dataset(validation=True),
        open=lambda: connected(emulator),
        inject=emulator.faults.inject,
        count_remote_jobs=lambda: len(emulator.jobs()),
        secrets={"AZURE_CLIENT_SECRET": "sentinel-5f0c1d9ab7e24", "HF_TOKEN": "hf_sentinel77c1d9ab7e24"},
    )


@cache
def _emulator() -> Emulator:
    return Emulator(Path(tempfile.mkdtemp(prefix="tunebridge-azureml-"))).start()
