"""The six hooks of a plugin. They register and observe; the work itself is done by a Backend.

A plugin is a module that implements some of these functions with `hookimpl` and is named in the
entry-point group `tunebridge`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from tunebridge.backend import BackendInfo
    from tunebridge.data.reading.readers import Reader
    from tunebridge.data.targets import Target
    from tunebridge.job import Event, Job
    from tunebridge.plan import Plan

PROJECT = "tunebridge"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def tunebridge_backends() -> "Iterable[BackendInfo]":  # type: ignore[empty-body]
    """Return the backends that this plugin brings."""


@hookspec
def tunebridge_dataset_readers() -> "Iterable[Reader]":  # type: ignore[empty-body]
    """Return readers for further shapes of rows."""


@hookspec
def tunebridge_dataset_targets() -> "Iterable[Target]":  # type: ignore[empty-body]
    """Return the shapes of row that services take, with or without a backend that submits to them."""


@hookspec
def tunebridge_metrics() -> Mapping[str, Callable[[str, str], float]]:  # type: ignore[empty-body]
    """Return evaluation metrics by name: each takes (output, reference) and returns a score."""


@hookspec
def tunebridge_check_plan(plan: "Plan") -> None:
    """Look at a plan before it is submitted; raise a TuneBridgeError to stop it (a policy)."""


@hookspec
def tunebridge_job_changed(job: "Job", event: "Event") -> None:
    """Learn of each new event of a job; an exception here is logged and never hurts the job."""
