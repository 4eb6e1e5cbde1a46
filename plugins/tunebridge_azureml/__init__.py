"""Azure Machine Learning as a backend: our trainer as a command job, or the service's own fine-tuning jobs."""

from tunebridge.backend import BackendInfo
from tunebridge.hookspecs import hookimpl
from tunebridge_azureml.info import INFO


@hookimpl
def tunebridge_backends() -> list[BackendInfo]:
    """Bring the azureml backend."""
    return [INFO]
