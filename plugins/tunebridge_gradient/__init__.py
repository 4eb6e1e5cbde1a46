"""Gradient.AI, closed to the public since 2024: a backend for a configured host, and its samples."""

from tunebridge.backend import BackendInfo
from tunebridge.data.targets import Target
from tunebridge.hookspecs import hookimpl
from tunebridge_gradient.info import INFO


@hookimpl
def tunebridge_backends() -> list[BackendInfo]:
    """Bring the gradient backend."""
    return [INFO]


@hookimpl
def tunebridge_dataset_targets() -> list[Target]:
    """Bring the shapes of row that Gradient.AI takes."""
    from tunebridge_gradient.rows import targets

    return targets()
