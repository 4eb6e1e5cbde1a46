"""Amazon Bedrock as a backend, and the rows that it takes."""

from tunebridge.backend import BackendInfo
from tunebridge.data.targets import Target
from tunebridge.hookspecs import hookimpl
from tunebridge_bedrock.info import INFO


@hookimpl
def tunebridge_backends() -> list[BackendInfo]:
    """Bring the bedrock backend."""
    return [INFO]


@hookimpl
def tunebridge_dataset_targets() -> list[Target]:
    """Bring the shapes of row that Bedrock takes."""
    from tunebridge_bedrock.rows import targets

    return targets()
