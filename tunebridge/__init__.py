"""TuneBridge fine-tunes language models on any provider from one job file."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunebridge.client import Client
    from tunebridge.data.dataset import Dataset
    from tunebridge.data.example import Example, Message
    from tunebridge.errors import TuneBridgeError
    from tunebridge.job import Job, JobStatus
    from tunebridge.plan import Plan
    from tunebridge.spec import JobSpec

__version__ = "0.1.0"
__all__ = ["Client", "Dataset", "Example", "Job", "JobSpec", "JobStatus", "Message", "Plan", "TuneBridgeError"]

_HOMES = {
    "Client": "client",
    "Dataset": "data.dataset",
    "Example": "data.example",
    "Job": "job",
    "JobSpec": "spec",
    "JobStatus": "job",
    "Message": "data.example",
    "Plan": "plan",
    "TuneBridgeError": "errors",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that `import tunebridge` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tunebridge' has no attribute {name!r}")
    return getattr(import_module(f"tunebridge.{_HOMES[name]}"), name)
