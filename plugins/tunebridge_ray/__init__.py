"""Ray: the trainer on the workers of a Ray cluster, through Ray Jobs and Ray Train."""

from tunebridge.backend import BackendInfo
from tunebridge.hookspecs import hookimpl
from tunebridge_ray.info import INFO


@hookimpl
def tunebridge_backends() -> list[BackendInfo]:
    """Bring the ray backend."""
    return [INFO]
