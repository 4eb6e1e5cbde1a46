"""Observers that hand a job's numbers to experiment trackers; which ones, `report_to` says.

`metadata: {report_to: "tensorboard,mlflow"}` in a job file, or TUNEBRIDGE_REPORT_TO for every job of a shell. A tracker
hears while somebody follows the job (`--wait`, `jobs watch`); one that fails is named once and left out.
"""

import logging
import os
import sys
from contextlib import redirect_stdout
from importlib import import_module

from tunebridge.errors import MissingDependency
from tunebridge.hookspecs import hookimpl
from tunebridge.job import Event, Job, JobStatus
from tunebridge_sinks.sink import Sink, numbers

SINKS = ("tensorboard", "mlflow", "wandb", "trackio")
VARIABLE = "TUNEBRIDGE_REPORT_TO"
logger = logging.getLogger("tunebridge.sinks")
_open: dict[tuple[str, str], Sink | None] = {}
"""By job and tracker; None for one that has failed."""


@hookimpl
def tunebridge_job_changed(job: Job, event: Event) -> None:
    """Hand the event's numbers to each tracker that the job reports to."""
    for name in wanted(job):
        try:
            with redirect_stdout(sys.stderr):  # some trackers chat, and stdout is for the command's own answer
                _tell(name, job, event)
        except Exception as error:  # a tracker must never hurt a job, nor another tracker
            _open[job.id, name] = None
            reason = str(error) if isinstance(error, MissingDependency) else f"{type(error).__name__}: {error}"
            logger.warning("job %s is not reported to %s any more: %s", job.id, name, reason)


def wanted(job: Job) -> list[str]:
    """Return the trackers that a job reports to."""
    named = job.metadata.get("report_to") or os.environ.get(VARIABLE, "")
    return [name.strip() for name in named.split(",") if name.strip()]


def _tell(name: str, job: Job, event: Event) -> None:
    key = (job.id, name)
    if key not in _open:
        if name not in SINKS:
            raise ValueError(f"there is no such tracker. Choose among {', '.join(SINKS)}")
        _open[key] = import_module(f"tunebridge_sinks.{name}").open_sink(job)
    sink = _open[key]
    if sink is None:
        return
    values = numbers(event)
    if values:
        sink.log(values, int(event.data["step"]))
    if event.kind == "status" and JobStatus(event.data.get("status", "unknown")).is_terminal:
        sink.close(succeeded=event.data["status"] == "succeeded")
        del _open[key]
