"""OpenAI's dialect: OpenAI, Azure OpenAI and compatible servers as a backend, and the rows of those and others."""

from tunebridge.backend import BackendInfo
from tunebridge.data.targets import Target
from tunebridge.hookspecs import hookimpl
from tunebridge_openai.info import INFO


@hookimpl
def tunebridge_backends() -> list[BackendInfo]:
    """Bring the openai backend."""
    return [INFO]


@hookimpl
def tunebridge_dataset_targets() -> list[Target]:
    """Bring the shapes of row that services of OpenAI's dialect take."""
    from tunebridge_openai.rows import targets

    return targets()
