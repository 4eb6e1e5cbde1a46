"""What only Ray has: `options.ray` in a job file."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from tunebridge.training.options import TrainerOptions


class RayOptions(TrainerOptions):
    """Which cluster, how many workers of which size, and where the run folder lies."""

    address: Annotated[str, StringConstraints(pattern=r"^https?://")] | None = None
    """Address of the cluster's dashboard, such as `http://head:8265`; unset: RAY_API_SERVER_ADDRESS or RAY_ADDRESS."""
    storage: Annotated[str, StringConstraints(pattern=r"^(/|[a-z0-9+]+://).*[^/]$")] | None = None
    """Where run folders lie: a folder at the same path on this machine and on all of the cluster's, or a place of
    fsspec such as `s3://bucket/runs`, which is copied to and from the workers' disks."""
    num_workers: Annotated[int, Field(ge=1)] = 1
    """Processes that train together, each on its part of every step's rows."""
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1.0
    """CPUs that Ray reserves for a worker, and as many threads, unless `threads` says otherwise."""
    gpus_per_worker: Annotated[int, Field(ge=0, le=1)] = 0
    """GPUs that Ray reserves for a worker: one, or none."""
    resources_per_worker: dict[str, Annotated[float, Field(gt=0)]] = {}
    """Further resources that a worker needs, as the cluster names them, such as `{accelerator_type:A100: 0.001}`."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """How often the workers are started again, from the last checkpoint, when one of them dies."""
    sharding: Literal["none", "fsdp"] = "none"
    """Whether each worker holds the whole model, or a part of it (FSDP2), for what does not fit on one device."""
    requirements: Literal["present", "install"] = "present"
    """Whether PyTorch and the rest are on the cluster's machines, or are installed there for the job."""
