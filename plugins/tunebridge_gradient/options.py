"""What only Gradient.AI has: `options.gradient` in a job file."""

from typing import Annotated

from pydantic import Field, StringConstraints

from tunebridge.spec import SpecModel


class GradientOptions(SpecModel):
    """Which installation of the service, and how samples are sent."""

    host: Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$")]
    """Address of the API, such as `https://HOST/api`; there is no default, since the public service is gone."""
    workspace_id: Annotated[str, Field(min_length=1)] | None = None
    """Workspace of the adapter; unset: the environment's GRADIENT_WORKSPACE_ID."""
    chunk_samples: Annotated[int, Field(ge=1)] = 16
    """Samples per call; the server's limit is not published."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 600.0
    """How long the answer to one call may take; the SDK itself would wait for ever."""
