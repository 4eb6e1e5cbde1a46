"""The backend connected to a local cluster: for rehearsals, and what the conformance suite tests it with."""

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tunebridge.backend import Rehearsal
from tunebridge.spec import JobSpec
from tunebridge.testing.case import BackendCase, small_dataset
from tunebridge.training.config import NANO
from tunebridge_ray import client
from tunebridge_ray.backend import RayBackend
from tunebridge_ray.emulator import Gateway
from tunebridge_ray.info import INFO

JOB = {
    "backend": "ray",
    "base_model": "random",
    "data": {"train": "rows.jsonl"},
    "hyperparameters": {"epochs": 40, "batch_size": 4},
}
TIMEOUT_SECONDS = 400.0
"""A job's driver and workers each import PyTorch, and the checks leave jobs running beside the one they look at."""


def rehearse(folder: Path) -> Rehearsal:
    """Return the backend connected to a cluster of two CPUs, whose run folders lie in a folder."""
    storage = str(folder.absolute() / "runs")
    stand_ins = {"storage": storage, "num_workers": 2}
    return Rehearsal(connected(Gateway(folder).start(), storage), base_model=NANO, options=stand_ins)


def connected(gateway: Gateway, storage: str | None = None) -> RayBackend:
    """Return the backend for which every cluster is the one behind the gateway; `storage` as RayBackend has it."""

    def connect(connection: Mapping[str, Any]) -> client.Remote:
        return client.Remote(client.Access(gateway.wire.url, gateway.token))

    return RayBackend(connect, storage=storage)


def case() -> BackendCase:
    """Return the backend with a job of some seconds for two workers, two of which have room on the cluster."""
    folder, gateway = room()
    options = {"storage": str(folder / "runs"), "num_workers": 2, "cpus_per_worker": 0.5, "checkpoint_seconds": 0}
    return BackendCase(
        info=INFO,
        spec=JobSpec.model_validate({**JOB, "options": {"ray": options}}),
        dataset=small_dataset(validation=True),
        open=lambda: connected(gateway),
        inject=gateway.faults.inject,
        count_remote_jobs=gateway.count_jobs,
        secrets={"RAY_AUTH_TOKEN": "sentinel-ray-6b1f0c9de7a2", "HF_TOKEN": "hf_sentinel52c1d9ab7e24"},
        timeout_seconds=TIMEOUT_SECONDS,
    )


@cache
def room() -> tuple[Path, Gateway]:
    """Return the folder and the cluster that the suite tests with; the cluster ends when nobody asks any more."""
    folder = Path(tempfile.mkdtemp(prefix="tunebridge-ray-"))
    return folder, Gateway(folder).start()
