"""OpenAI's dialect: OpenAI, Azure OpenAI, Together, Fireworks and Mistral."""

from tunebridge.data.targets import Target
from tunebridge.hookspecs import hookimpl


@hookimpl
def tunebridge_dataset_targets() -> list[Target]:
    """Bring the shapes of row that services of OpenAI's dialect take."""
    from tunebridge_openai.rows import targets

    return targets()
