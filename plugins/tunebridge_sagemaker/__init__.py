"""Amazon SageMaker as a backend, and the rows that it takes."""

from tunebridge.backend import BackendInfo
from tunebridge.data.targets import Target
from tunebridge.hookspecs import hookimpl
from tunebridge_sagemaker.info import INFO


@hookimpl
def tunebridge_backends() -> list[BackendInfo]:
    """Bring the sagemaker backend."""
    return [INFO]


@hookimpl
def tunebridge_dataset_targets() -> list[Target]:
    """Bring the shapes of row that SageMaker takes."""
    from tunebridge_sagemaker.rows import targets

    return targets()
