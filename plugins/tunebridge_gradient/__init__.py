"""Gradient.AI."""

from tunebridge.data.targets import Target
from tunebridge.hookspecs import hookimpl


@hookimpl
def tunebridge_dataset_targets() -> list[Target]:
    """Bring the shapes of row that Gradient.AI takes."""
    from tunebridge_gradient.rows import targets

    return targets()
