"""Hugging Face: the columns of TRL's trainers."""

from tunebridge.data.targets import Target
from tunebridge.hookspecs import hookimpl


@hookimpl
def tunebridge_dataset_targets() -> list[Target]:
    """Bring the shapes of row that TRL's trainers take."""
    from tunebridge_huggingface.rows import targets

    return targets()
