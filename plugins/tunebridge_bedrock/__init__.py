"""Amazon Bedrock."""

from tunebridge.data.targets import Target
from tunebridge.hookspecs import hookimpl


@hookimpl
def tunebridge_dataset_targets() -> list[Target]:
    """Bring the shapes of row that Bedrock takes."""
    from tunebridge_bedrock.rows import targets

    return targets()
