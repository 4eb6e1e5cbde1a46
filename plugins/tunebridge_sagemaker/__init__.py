"""Amazon SageMaker."""

from tunebridge.data.targets import Target
from tunebridge.hookspecs import hookimpl


@hookimpl
def tunebridge_dataset_targets() -> list[Target]:
    """Bring the shapes of row that SageMaker takes."""
    from tunebridge_sagemaker.rows import targets

    return targets()
