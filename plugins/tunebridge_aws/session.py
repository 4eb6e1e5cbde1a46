"""Clients of boto3 for a job's connection; boto3 is imported inside the functions."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from tunebridge_aws.errors import backend_error

READ_RETRIES = 3
CONNECT_SECONDS, READ_SECONDS = 10, 60


@dataclass(frozen=True)
class Session:
    """One region of one account; credentials come from the SDK's own chain unless some are given."""

    backend: str
    """Whose errors are raised."""
    region: str | None
    profile: str | None = None
    endpoint_url: str | None = None
    """Where every service is, instead of Amazon; for emulators."""
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    """`aws_access_key_id` and `aws_secret_access_key`, for emulators."""
    _clients: dict[tuple[str, bool], Any] = field(default_factory=dict, repr=False, compare=False)

    def client(self, service: str, *, once: bool = False) -> Any:
        """Return a client of a service; `once`: without the SDK's retries, for calls that create what is billed.

        A client is made once per session: reading the model of SageMaker alone takes a good part of a second.
        """
        if (service, once) not in self._clients:
            with self.translated("connect"):
                self._clients[service, once] = self._new_client(service, once=once)
        return self._clients[service, once]

    def environment(self) -> dict[str, str]:
        """Return the variables that give another process the same place and credentials, where some are given."""
        found = {
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
            "AWS_PROFILE": self.profile,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            **{name.upper(): value for name, value in self.credentials.items()},
        }
        return {name: value for name, value in found.items() if value is not None}

    @contextmanager
    def translated(self, operation: str) -> Iterator[None]:
        """Let nothing but a BackendError leave the block."""
        try:
            yield
        except Exception as error:  # whatever the SDK raises becomes one of ours, and loses its traceback
            raise backend_error(error, backend=self.backend, operation=operation) from None

    @cached_property
    def _boto(self) -> Any:
        import boto3

        return boto3.Session(profile_name=self.profile, region_name=self.region, **self.credentials)

    def _new_client(self, service: str, *, once: bool) -> Any:
        from botocore.config import Config

        retries = {"total_max_attempts": 1} if once else {"mode": "standard", "max_attempts": READ_RETRIES}
        config = Config(retries=retries, connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS)
        return self._boto.client(service, endpoint_url=self.endpoint_url, config=config)


def connect(backend: str, connection: Mapping[str, Any]) -> Session:
    """Return the session of a job's connection; without a region the SDK's own configuration decides."""
    return _connected(backend, connection.get("region"), connection.get("profile"))


@cache
def _connected(backend: str, region: str | None, profile: str | None) -> Session:
    return Session(backend, region, profile)
