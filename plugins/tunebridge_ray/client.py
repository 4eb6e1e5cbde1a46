"""The only importer of Ray here: jobs of a cluster, in plain values, through its dashboard."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tunebridge.errors import BackendError, InvalidRequest
from tunebridge_ray.status import backend_error

ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
JOB_KEY = "tunebridge_job"
"""Key of a job's metadata that carries our id, beside the submission id."""


@dataclass(frozen=True)
class Access:
    """Which cluster, and with which token where it asks for one."""

    address: str
    token: str | None = None


def connect(connection: Mapping[str, Any]) -> "Remote":
    """Return the cluster of a job's connection, or the one that Ray's environment variables name."""
    named = (os.environ.get(name) for name in ADDRESS_VARIABLES)
    address = connection.get("address") or next(filter(None, named), None)
    if not address or not str(address).startswith(("http://", "https://")):
        raise InvalidRequest(
            f"{address or 'no address'} is not the address of a cluster's dashboard. Set options.ray.address or "
            f"RAY_ADDRESS to one such as http://head:8265.",
            backend="ray",
            operation="connect",
        )
    return Remote(Access(str(address), os.environ.get("RAY_AUTH_TOKEN")))


class Remote:
    """A cluster; every method raises BackendError and returns plain values."""

    def __init__(self, access: Access) -> None:
        self._access, self.address = access, access.address

    def create(self, job_id: str, entrypoint: str, environment: Mapping[str, Any]) -> str:
        """Upload the working folder, create a job under our id with one call, and return its id."""
        with self._asking("submit") as jobs:
            made = jobs.submit_job(
                entrypoint=entrypoint,
                submission_id=job_id,
                runtime_env=dict(environment),
                metadata={JOB_KEY: job_id},
            )
        return str(made)

    def job(self, identifier: str, operation: str = "poll") -> dict[str, Any] | None:
        """Return what the cluster knows of a job, None where it has none of that id."""
        with self._asking(operation) as jobs:
            # The SDK's own method fails on a word for the state that its version does not know.
            answer = jobs._do_request("GET", f"/api/jobs/{identifier}")
            if answer.status_code == 404:
                return None
            if answer.status_code != 200:
                raise RuntimeError(f"status code {answer.status_code}")
            found: dict[str, Any] = answer.json()
            return found

    def jobs(self) -> list[dict[str, Any]]:
        """Return the jobs that were submitted to the cluster, with their ids, states and metadata."""
        with self._asking("list_jobs") as jobs:
            found = [job for job in jobs.list_jobs() if job.submission_id]
        return [
            {
                "id": str(job.submission_id),
                "status": str(getattr(job.status, "value", job.status)),
                "metadata": dict(job.metadata or {}),
            }
            for job in found
        ]

    def log(self, identifier: str) -> list[str]:
        """Return the lines that the job's driver wrote."""
        with self._asking("poll") as jobs:
            return str(jobs.get_job_logs(identifier)).splitlines()

    def stop(self, identifier: str) -> None:
        """End a job at once, with its workers."""
        with self._asking("cancel") as jobs:
            jobs.stop_job(identifier)

    def forget(self, identifier: str, operation: str) -> None:
        """Remove a job that has ended from the cluster's list, so that its id is free."""
        with self._asking(operation) as jobs:
            jobs.delete_job(identifier)

    def version(self) -> str:
        """Return the cluster's version of Ray."""
        with self._asking("check") as jobs:
            answer = jobs._do_request("GET", "/api/version")
            if answer.status_code != 200:
                raise RuntimeError(f"status code {answer.status_code}")
            return str(answer.json()["ray_version"])

    @contextmanager
    def _asking(self, operation: str) -> Iterator[Any]:
        """Give the SDK, and turn whatever it raises inside the block into a BackendError."""
        try:
            yield _sdk(self._access)
        except BackendError:
            raise
        except Exception as error:  # whatever the SDK raises becomes one of ours, and its text is not kept
            raise backend_error(error, operation) from None


def _sdk(access: Access) -> Any:
    """Return the SDK's client; the variables that would win over the address it is given are put aside."""
    from ray.job_submission import JobSubmissionClient

    logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.WARNING)  # it tells of every upload
    headers = {"Authorization": f"Bearer {access.token}"} if access.token else None
    aside = {name: os.environ.pop(name) for name in ADDRESS_VARIABLES if name in os.environ}
    try:
        return JobSubmissionClient(access.address, headers=headers)
    finally:
        os.environ.update(aside)
