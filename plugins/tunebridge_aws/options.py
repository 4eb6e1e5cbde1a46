"""What every service of Amazon's needs to know: where, as whom, and where its files lie."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from tunebridge.spec import SpecModel


class AmazonOptions(SpecModel):
    """Place, role and bucket of a job."""

    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
    """Region of the job and of the bucket, such as `us-east-1`."""
    role_arn: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$")]
    """Role that the job runs as; it reads and writes the bucket."""
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    """Bucket for rows, checkpoints and results."""
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]*[A-Za-z0-9._-]$")] = "tunebridge"
    """Folder in the bucket below which everything lies."""
    profile: str | None = None
    """Profile of the AWS configuration; unset: the environment's credentials."""
    kms_key_id: str | None = None
    """Key with which what the job leaves is encrypted."""
    tags: dict[str, str] | None = None
    """Tags of your own, beside ours."""
    subnets: tuple[str, ...] | None = None
    """Subnets of your VPC; needs security_groups."""
    security_groups: tuple[str, ...] | None = None
    """Security groups of your VPC; needs subnets."""

    @model_validator(mode="after")
    def _is_whole_network(self) -> Self:
        if (self.subnets is None) != (self.security_groups is None):
            raise ValueError("subnets and security_groups belong together; set both or none")
        return self


CONNECTION = {name: f"connection.{name}" for name in ("region", "bucket", "prefix", "profile", "kms_key_id")}
"""Option -> where it is kept with the job, so that every later call reaches the same place."""
