"""Hugging Face: Jobs as a backend, and the columns of TRL's trainers."""

from tunebridge.backend import BackendInfo
from tunebridge.data.targets import Target
from tunebridge.hookspecs import hookimpl
from tunebridge_huggingface.info import INFO


@hookimpl
def tunebridge_backends() -> list[BackendInfo]:
    """Bring the huggingface backend."""
    return [INFO]


@hookimpl
def tunebridge_dataset_targets() -> list[Target]:
    """Bring the shapes of row that TRL's trainers take."""
    from tunebridge_huggingface.rows import targets

    return targets()
