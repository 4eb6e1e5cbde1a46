"""Google Vertex AI: Gemini and open models as a backend, and the rows that they take."""

from tunebridge.backend import BackendInfo
from tunebridge.data.targets import Target
from tunebridge.hookspecs import hookimpl
from tunebridge_vertexai.info import INFO


@hookimpl
def tunebridge_backends() -> list[BackendInfo]:
    """Bring the vertexai backend."""
    return [INFO]


@hookimpl
def tunebridge_dataset_targets() -> list[Target]:
    """Bring the shapes of row that Vertex AI takes."""
    from tunebridge_vertexai.rows import targets

    return targets()
