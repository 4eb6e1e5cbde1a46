"""The backend connected to its emulator: for rehearsals, and what the conformance suite tests it with."""

import json
import tempfile
from functools import cache
from pathlib import Path

from tunebridge.backend import Rehearsal
from tunebridge.spec import JobSpec
from tunebridge.testing.case import BackendCase, Gap, small_dataset
from tunebridge_gradient import client, emulated_worker, worker
from tunebridge_gradient.backend import GradientBackend
from tunebridge_gradient.emulator import BASE_MODEL, WORKSPACE, Emulator
from tunebridge_gradient.info import INFO

FAILING_CALLS = 20
"""Workers of earlier checks may still be calling, and any of them may meet a fault of the training calls."""
HOST = "https://gradient.invalid/api"
"""Stands in where a rehearsed job names no host; nothing is sent there."""
JOB = {
    "backend": "gradient",
    "base_model": BASE_MODEL,
    "data": {"train": "rows.jsonl"},
    "hyperparameters": {"epochs": 4},
    "options": {"gradient": {"host": HOST, "chunk_samples": 4}},
}
GAPS = {
    "unknown_word": Gap("vendor does not offer", "the service has no words for a job's state; they are our worker's")
}


def rehearse(folder: Path) -> Rehearsal:
    """Return the backend connected to an emulator whose workspace lies in a folder."""
    return Rehearsal(connected(Emulator(folder).start()), base_model=BASE_MODEL, options={"host": HOST})


def connected(emulator: Emulator) -> GradientBackend:
    """Return the backend for which every host is the emulator, with workers that bring it along."""

    def launch(folder: Path) -> None:
        (folder / emulated_worker.PLACE_FILE).write_text(json.dumps(str(emulator.folder)))
        worker.start(folder, module="tunebridge_gradient.emulated_worker")

    access = client.Access(emulator.host, emulator.token, WORKSPACE)
    return GradientBackend(lambda connection: client.Remote(access), launch)


def case() -> BackendCase:
    """Return the backend with a job of some seconds, in a workspace of its own."""
    emulator = _emulator()
    return BackendCase(
        info=INFO,
        spec=JobSpec.model_validate(JOB),
        dataset=small_dataset(),
        open=lambda: connected(emulator),
        inject=lambda fault: emulator.faults.inject(fault, times=FAILING_CALLS if fault == "job_fails" else 1),
        count_remote_jobs=lambda: len(emulator.adapters()),
        secrets={"GRADIENT_ACCESS_TOKEN": "sentinel6a1f0d9ce87b"},
        gaps=GAPS,
    )


@cache
def _emulator() -> Emulator:
    return Emulator(Path(tempfile.mkdtemp(prefix="tunebridge-gradient-"))).start()
