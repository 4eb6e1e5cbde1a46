"""Trackio: a local run, which `trackio show --project tunebridge` displays."""

from collections.abc import Mapping
from typing import Any

from tunebridge.job import Job
from tunebridge_sinks.sink import require


class Trackio:
    """One run of the trackio package."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log the values."""
        self._run.log(dict(values), step=step)

    def close(self, *, succeeded: bool) -> None:
        """Write out what is waiting."""
        self._run.finish()


def open_sink(job: Job) -> Trackio:
    """Begin a run, or go on with it, under the job's id."""
    require("trackio")
    import trackio

    config = {"backend": job.backend, "base_model": job.base_model, "data": job.data_fingerprint}
    return Trackio(trackio.init(project="tunebridge", name=job.id, config=config, resume="allow", embed=False))
