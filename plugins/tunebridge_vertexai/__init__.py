"""Google Vertex AI: Gemini and open models."""

from tunebridge.data.targets import Target
from tunebridge.hookspecs import hookimpl


@hookimpl
def tunebridge_dataset_targets() -> list[Target]:
    """Bring the shapes of row that Vertex AI takes."""
    from tunebridge_vertexai.rows import targets

    return targets()
