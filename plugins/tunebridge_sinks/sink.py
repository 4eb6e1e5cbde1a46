"""What a tracker is to us: something that takes numbers by step."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Protocol

from tunebridge.errors import MissingDependency
from tunebridge.job import Event

NOT_MEASURED = ("step", "total_steps")
"""Numbers of an event that are no measurement."""


class Sink(Protocol):
    """One job's run in a tracker."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Hand over values of a step."""

    def close(self, *, succeeded: bool) -> None:
        """Finish the run."""


def numbers(event: Event) -> dict[str, float]:
    """Return what an event measured: its numbers, when it names a step."""
    if "step" not in event.data:
        return {}
    return {
        name: float(value)
        for name, value in event.data.items()
        if name not in NOT_MEASURED and isinstance(value, int | float) and not isinstance(value, bool)
    }


def require(package: str) -> None:
    """Raise MissingDependency, with the command that installs it, when the tracker's package is not there."""
    if find_spec(package) is None:
        raise MissingDependency(package, backend="local", extra=package)
