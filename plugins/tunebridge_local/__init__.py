"""The local backend: trains on this machine, in a process of its own."""

from tunebridge.backend import BackendInfo
from tunebridge.hookspecs import hookimpl
from tunebridge_local.info import INFO


@hookimpl
def tunebridge_backends() -> list[BackendInfo]:
    """Bring the local backend."""
    return [INFO]
