"""MLflow: a run in MLFLOW_TRACKING_URI, or in an SQLite file beside the jobs' folders."""

import os
from collections.abc import Mapping
from typing import Any

from tunebridge.job import Job
from tunebridge_sinks.sink import require

EXPERIMENT = "tunebridge"


class Mlflow:
    """One run, through MLflow's client."""

    def __init__(self, client: Any, run_id: str) -> None:
        self._client, self._run_id = client, run_id

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log each value."""
        for name, value in values.items():
            self._client.log_metric(self._run_id, name, value, step=step)

    def close(self, *, succeeded: bool) -> None:
        """End the run."""
        self._client.set_terminated(self._run_id, "FINISHED" if succeeded else "FAILED")


def open_sink(job: Job) -> Mlflow:
    """Go on with the run that bears the job's id, or begin it."""
    require("mlflow")
    from mlflow.tracking import MlflowClient

    client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{job.folder.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT)
    found = client.search_runs([experiment_id], filter_string=f"tags.job = '{job.id}'")
    if found:
        return Mlflow(client, found[0].info.run_id)
    tags = {"job": job.id, "backend": job.backend, "base_model": job.base_model, "data": job.data_fingerprint}
    run = client.create_run(experiment_id, tags=tags, run_name=job.name or job.id)
    return Mlflow(client, run.info.run_id)
