"""Weights & Biases: a run that is kept offline in the job's folder unless WANDB_MODE says otherwise."""

import os
from collections.abc import Mapping
from typing import Any

from tunebridge.job import Job
from tunebridge_sinks.sink import require


class Wandb:
    """One run of the wandb package."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log the values; several logs of one step are joined."""
        self._run.log({**values, "trainer_step": step})

    def close(self, *, succeeded: bool) -> None:
        """Finish the run; `wandb sync` uploads an offline one."""
        self._run.finish(exit_code=0 if succeeded else 1)


def open_sink(job: Job) -> Wandb:
    """Begin a run, or go on with it, under the job's id."""
    require("wandb")
    import wandb

    run = wandb.init(
        project="tunebridge",
        id=job.id,
        name=job.name or job.id,
        dir=str(job.folder),
        mode=os.environ.get("WANDB_MODE", "offline"),
        resume="allow",
        config={"backend": job.backend, "base_model": job.base_model, "data": job.data_fingerprint},
        settings=wandb.Settings(silent=True),
    )
    return Wandb(run)
