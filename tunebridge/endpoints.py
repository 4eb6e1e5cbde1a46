"""The facade's part for endpoints: made for a finished job's model on request, at its backend or at another one."""

import shutil
from collections.abc import Callable

from tunebridge.backend import MERGED_FOLDER, Backend, Rehearsal
from tunebridge.errors import TuneBridgeError
from tunebridge.job import Deployment, Job, now
from tunebridge.spec import JobSpec
from tunebridge.store import Store


class Endpoints:
    """Endpoints of the jobs of one store."""

    def __init__(
        self,
        store: Callable[[], Store],
        backend: Callable[[str], Backend],
        stage: Callable[[str], Rehearsal],
    ) -> None:
        self._store, self._backend, self._stage = store, backend, stage

    def quote(self, job: Job, to: str | None, *, rehearse: bool) -> Deployment:
        """Return the endpoint that `deploy` would make, with its hourly price."""
        if to is None or to == job.backend:
            return self._at(job).quote(job)
        stage = self._stage(to) if rehearse else None
        section = JobSpec.model_validate(self._store().plan(job.id).spec).options.get(to, {})
        options = {**(stage.options if stage else {}), **section}
        quoted = (stage.backend if stage else self._backend(to)).host(job, options)
        return quoted.model_copy(update={"backend": to, "rehearsal": rehearse})

    def deploy(self, job: Job, to: str | None, *, rehearse: bool) -> Job:
        """Make an endpoint and return the job; what is to be made is written down before it is."""
        store = self._store()
        with store.exclusive(job.id, timeout_seconds=10):
            planned = job.deployment or self.quote(job, to, rehearse=rehearse)
            if to is not None and to != (planned.backend or job.backend):
                raise TuneBridgeError(
                    f"Job {job.id} has an endpoint at {planned.backend or job.backend}. Remove it first: "
                    f"`tunebridge undeploy {job.id}`."
                )
            job = store.change(job.id, lambda j: j.model_copy(update={"deployment": planned}))
            made = self._make(job, planned)
            made = made.model_copy(update={"since": made.since or planned.since or now()})
            return store.change(job.id, lambda j: j.model_copy(update={"deployment": made}))

    def seen(self, job: Job) -> Deployment | None:
        """Return a job's endpoint as it is now, None where there is none."""
        host, seen = self.host(job)
        found = host.deployment(seen)
        if found is None or found.since is not None or job.deployment is None:
            return found
        return found.model_copy(update={"since": job.deployment.since})

    def undeploy(self, job: Job) -> Job:
        """Remove the job's endpoint and return the job."""
        store = self._store()
        with store.exclusive(job.id, timeout_seconds=10):
            host, seen = self.host(job)
            host.undeploy(seen)
            return store.change(job.id, lambda j: j.model_copy(update={"deployment": None}))

    def host(self, job: Job) -> tuple[Backend, Job]:
        """Return the backend at which the job's model answers, and the job as that backend sees it."""
        known = job.deployment
        if known is None or known.backend is None:
            return self._at(job), job
        update = {"backend": known.backend, "connection": known.connection, "rehearsal": known.rehearsal}
        seen = job.model_copy(update=update)
        return self._at(seen), seen

    def _make(self, job: Job, planned: Deployment) -> Deployment:
        """Let the host make the endpoint; another backend's gets the merged weights, unless it has them already."""
        host, seen = self.host(job)
        if planned.backend is None:
            return host.deploy(seen)
        merged = job.folder / MERGED_FOLDER
        if host.deployment(seen) is None and not merged.exists():
            self._at(job).export(job, merged, to="merged")
        made = host.deploy(seen)
        shutil.rmtree(merged, ignore_errors=True)
        return made

    def _at(self, job: Job) -> Backend:
        return self._stage(job.backend).backend if job.rehearsal else self._backend(job.backend)
