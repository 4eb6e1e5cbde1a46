"""The facade: everything that a user of TuneBridge does, from Python or behind the command line."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tunebridge import plugins as plugins_module
from tunebridge import specfile
from tunebridge import submit as submission
from tunebridge import watch as watching
from tunebridge.backend import Backend, Check, Generation, GenerationParameters, Rehearsal
from tunebridge.cost.budget import JobCost
from tunebridge.cost.calibration import Calibrated
from tunebridge.cost.comparison import Comparison
from tunebridge.costs import Costs, EstimateOptions
from tunebridge.data.dataset import Dataset
from tunebridge.data.example import Message
from tunebridge.data.loading import load_dataset
from tunebridge.endpoints import Endpoints
from tunebridge.errors import JobFailed, MissingDependency, TuneBridgeError, UnsupportedFeature
from tunebridge.job import Artifact, Deployment, Event, Job, JobStatus, Metric
from tunebridge.plan import Plan
from tunebridge.plugins import Plugins, missing_requirement, require_installed
from tunebridge.rows import Rows
from tunebridge.spec import JobSpec
from tunebridge.spending import Spending
from tunebridge.store import Store, default_home

if TYPE_CHECKING:
    from tunebridge.evaluation.pareto import Choice
    from tunebridge.evaluation.request import Request
    from tunebridge.evaluation.result import Evaluation
    from tunebridge.evaluations import Evaluations

logger = logging.getLogger(__name__)

JobLike = JobSpec | Path | str


class Client:
    """Plans, submits and follows jobs; one store, any number of backends.

    `home` is the folder of the job store (default: `$TUNEBRIDGE_HOME` or the platform's data folder).
    """

    def __init__(self, home: Path | None = None, *, plugins: Plugins | None = None) -> None:
        self.plugins = plugins or plugins_module.discover()
        self.rows = Rows(self.plugins)
        """What is done with files of rows without a job."""
        self.costs = Costs(self.plugins, (home or default_home()).absolute(), self.backend)
        """Prices, estimates and calibration."""
        self.endpoints = Endpoints(lambda: self.store, self.backend, self.rehearsal)
        """Endpoints of finished jobs' models."""
        self.spending = Spending(lambda: self.store, self.endpoints.seen)
        """Budgets of projects, what jobs came to, endpoints that still bill."""
        self._home = home
        self._store: Store | None = None
        self._backends: dict[str, Backend] = {}
        self._rehearsals: dict[str, Rehearsal] = {}

    @cached_property
    def evaluations(self) -> "Evaluations":
        """What is done with models under test: asking, recording, comparing."""
        from tunebridge.evaluations import Evaluations  # a fifth of the client's time to import, and seldom needed

        return Evaluations(self, (self._home or default_home()).absolute())

    @property
    def store(self) -> Store:
        """The job store, opened when it is first needed: planning works without one."""
        if self._store is None:
            self._store = Store(self._home)
        return self._store

    def backend(self, name: str) -> Backend:
        """Return a backend by name."""
        if name not in self._backends:
            self._backends[name] = self.plugins.open(name)
        return self._backends[name]

    def rehearsal(self, name: str) -> Rehearsal:
        """Return a backend connected to its vendor's emulator; UnsupportedFeature where the plugin brings none."""
        if name not in self._rehearsals:
            info = self.plugins.backend(name)
            require_installed(info)
            if info.rehearse is None:
                raise UnsupportedFeature(
                    f"The {name} backend has no emulator to rehearse with. Submit without --rehearse.",
                    feature="rehearse",
                    backend=name,
                )
            self._rehearsals[name] = info.rehearse(self.store.home / "rehearsals" / name)
        return self._rehearsals[name]

    def check(self, name: str) -> Check:
        """Tell whether a backend is installed and can be reached with the credentials at hand."""
        missing = missing_requirement(self.plugins.backend(name))
        if missing:
            return Check(
                ok=False, detail=str(MissingDependency(missing, backend=name, extra=self.plugins.backend(name).extra))
            )
        return self.backend(name).check()

    def spec(self, job: JobLike, *, backend: str | None = None, overrides: Sequence[str] = ()) -> JobSpec:
        """Return the JobSpec of a job file, with overrides such as `hyperparameters.epochs=2`."""
        if isinstance(job, JobSpec):
            return job if backend is None else job.model_copy(update={"backend": backend})
        return specfile.load(Path(job), overrides=overrides, backend=backend)

    def dataset(self, spec: JobSpec) -> Dataset:
        """Read and check the job's rows; they are kept in canonical form in the store's folder `data`."""
        seed, readers = spec.hyperparameters.seed or 0, self.plugins.readers()
        return load_dataset(spec.data, seed=seed, readers=readers, folder=self._data_folder())

    def plan(self, job: JobLike, *, backend: str | None = None, overrides: Sequence[str] = ()) -> Plan:
        """Translate a job for its backend, offline; the plan may hold refused fields."""
        spec = self.spec(job, backend=backend, overrides=overrides)
        return self.backend(spec.backend).plan(spec, self.dataset(spec))

    def estimate(
        self,
        job: JobLike,
        *,
        backends: Sequence[str] = (),
        overrides: Sequence[str] = (),
        options: EstimateOptions | None = None,
    ) -> Comparison:
        """Return what a job costs on its own backend, or on each of `backends`, cheapest first; offline, keyless.

        A backend that cannot run the job, or whose price is not known, is a row that says why.
        """
        chosen = self.spec(job, overrides=overrides).backend
        for name in backends or (chosen,):
            self.plugins.backend(name)
        return self.costs.compare(
            lambda name: self.spec(job, backend=name, overrides=overrides),
            self.dataset,
            backends or (chosen,),
            chosen=chosen,
            options=options,
        )

    def calibrate(self) -> Sequence[Calibrated]:
        """Refine the model of time from this store's finished jobs; later estimates use it."""
        return self.costs.calibrate(self.store.list(), self.store.plan)

    def submit(  # noqa: PLR0913  # what is sent, and on which terms
        self,
        job: JobLike,
        *,
        backend: str | None = None,
        overrides: Sequence[str] = (),
        again: bool = False,
        rehearse: bool = False,
        price_file: Path | None = None,
        approve: Callable[[JobCost], None] | None = None,
    ) -> Job:
        """Submit a job exactly once and return it; `again` runs a plan that is still running a second time.

        The high end of its estimate, by the prices of `price_file` first, is reserved; BudgetExceeded where its own
        cap or its project's has no room for it. `approve` is told what it may cost before anything is sent, and stops
        it by an exception. `rehearse` sends it to the backend's emulator on this machine instead:
        no account, no network, no bill.
        """
        spec = self.spec(job, backend=backend, overrides=overrides)
        stage = self.rehearsal(spec.backend) if rehearse else None
        spec = stage.fill(spec) if stage else spec
        target = stage.backend if stage else self.backend(spec.backend)
        dataset = self.dataset(spec)
        plan = target.plan(spec, dataset)
        plan.require_sendable()
        require_installed(self.plugins.backend(spec.backend))
        self.plugins.check_plan(plan)
        cost = None if rehearse else self.costs.of_job(spec, plan, dataset, price_file=price_file)
        if approve and cost:
            approve(cost)
        return submission.submit(self.store, target, plan, dataset, again=again, rehearsal=rehearse, cost=cost)

    def get(self, job_id: str, *, refresh: bool = True) -> Job:
        """Return a job by its id, an unambiguous part of it or `last`; `refresh` asks the backend first."""
        job = self.store.get(job_id)
        if not refresh:
            return job
        if job.status.is_terminal:
            return self._collect(job)  # the process that saw it succeed may have died before it wrote the results
        job = watching.poll_once(self.store, self._backend_of(job), job.id, self.plugins.job_changed)
        return self._collect(job)

    def list(self, *, refresh: bool = False) -> Sequence[Job]:
        """Return all jobs, newest first; `refresh` asks their backends about those that have not ended.

        A job whose backend cannot be asked is returned as it was known, with a warning in the log.
        """
        jobs = self.store.list()
        return [job if job.status.is_terminal else self._refreshed(job) for job in jobs] if refresh else jobs

    def watch(
        self, job_id: str, *, after: int = 0, timeout_seconds: float | None = None
    ) -> Iterator[tuple[int, Event]]:
        """Yield the job's events with their numbers until it has ended; begin after a number that was seen before."""
        job = self.store.get(job_id)
        yield from watching.watch(
            self.store,
            self._backend_of(job),
            job.id,
            after=after,
            timeout_seconds=timeout_seconds,
            observer=self.plugins.job_changed,
        )
        self._collect(self.store.get(job.id))

    def wait(self, job_id: str, *, timeout_seconds: float | None = None) -> Job:
        """Wait until the job has succeeded and return it; JobFailed when it ended otherwise."""
        for _ in self.watch(job_id, timeout_seconds=timeout_seconds):
            pass
        job = self.store.get(job_id)
        if job.status != JobStatus.succeeded:
            raise failure(job)
        return job

    def cancel(self, job_id: str) -> Job:
        """Ask the backend to stop the job and return it; watch it to see when it has stopped."""
        job = self.get(job_id)
        if job.status.is_terminal:
            return job
        if job.backend_id is None:
            raise TuneBridgeError(
                f"Job {job.id} is not confirmed by {job.backend} yet. Run `tunebridge jobs reconcile` first."
            )
        self._backend_of(job).cancel(job)
        return self.store.change(job.id, lambda j: j.model_copy(update={"status": JobStatus.cancelling}))

    def pause(self, job_id: str) -> Job:
        """Ask the backend to stop the job for now and return it; watch it to see when it is paused."""
        job = self.get(job_id)
        if job.status.is_terminal or job.status == JobStatus.submitting:
            raise TuneBridgeError(f"Job {job.id} is {job.status}; only a job that is under way can be paused.")
        self._backend_of(job).pause(job)
        return job

    def resume(self, job_id: str) -> Job:
        """Go on with a job that is paused, or that failed or was cancelled, from its last checkpoint, and return it."""
        known = self.get(job_id)
        with self.store.exclusive(known.id, timeout_seconds=10):
            job = self.store.get(known.id)  # another process may have resumed it while this one waited
            if job.status not in (JobStatus.failed, JobStatus.cancelled, JobStatus.paused):
                raise TuneBridgeError(
                    f"Job {job.id} is {job.status}; only a paused, failed or cancelled job can be resumed."
                )
            return submission.resume(self.store, self._backend_of(job), job)

    def reconcile(self) -> submission.Reconciliation:
        """Settle every job whose create call has an unknown outcome, on every backend that is installed."""
        installed = set(self.plugins.backends())
        names = {job.backend for job in self.store.list() if not job.rehearsal} & installed
        return submission.reconcile(
            self.store,
            [self.backend(name) for name in sorted(names)],
            lambda job: self._backend_of(job) if job.backend in installed else None,
        )

    def events(self, job_id: str, *, after: int = 0) -> Sequence[tuple[int, Event]]:
        """Return the events that are kept of a job, with their numbers."""
        return self.store.events(self.store.get(job_id).id, after=after)

    def metrics(self, job_id: str) -> Sequence[Metric]:
        """Return the metrics that are kept of a job."""
        return self.store.metrics(self.store.get(job_id).id)

    def artifacts(self, job_id: str) -> Sequence[Artifact]:
        """Return the results of a job."""
        return self.store.artifacts(self.get(job_id).id)

    def finished(self, job_id: str) -> tuple[Job, Backend]:
        """Return a job that has succeeded, and its backend; JobFailed when it has no result."""
        job = self._finished(job_id)
        return job, self._backend_of(job)

    def download(self, job_id: str, folder: Path) -> Sequence[Path]:
        """Copy the job's results into a folder, checked by digest, and return where they are."""
        job = self._finished(job_id)
        backend = self._backend_of(job)
        return [backend.download(job, artifact, folder) for artifact in self.store.artifacts(job.id)]

    def quote(self, job_id: str, *, to: str | None = None, rehearse: bool = False) -> Deployment:
        """Return the endpoint that `deploy` would make for a finished job, with its hourly price."""
        return self.endpoints.quote(self._finished(job_id), to, rehearse=rehearse)

    def deploy(self, job_id: str, *, to: str | None = None, rehearse: bool = False) -> Job:
        """Make an endpoint for a finished job's model and return the job; it bills until `undeploy`.

        What is to be made is written down first, so that an endpoint never stands without anybody knowing. `to` names
        another backend, which takes over the merged weights; its options are read from the job file. `rehearse` takes
        that backend's emulator.
        """
        return self.endpoints.deploy(self._finished(job_id), to, rehearse=rehearse)

    def deployment(self, job_id: str) -> Job:
        """Return the job with the state of its endpoint as it is now."""
        job = self._finished(job_id)
        found = self.endpoints.seen(job)
        return self.store.change(job.id, lambda j: j.model_copy(update={"deployment": found}))

    def undeploy(self, job_id: str) -> Job:
        """Remove the job's endpoint, so that it bills no more, and return the job."""
        return self.endpoints.undeploy(self.store.get(job_id))

    def export(self, job_id: str, folder: Path, *, to: str, push: str | None = None) -> Path:
        """Write a job's result as `merged`, `safetensors` or `gguf` into a new folder; `push` names a repository."""
        job = self._finished(job_id)
        return self._backend_of(job).export(job, folder, to=to, push=push)

    def generate(
        self,
        target: str,
        prompts: Sequence[Sequence[Message]],
        parameters: GenerationParameters | None = None,
        *,
        backend: str | None = None,
    ) -> Iterator[Generation]:
        """Yield one answer per prompt from a job's tuned model, or from a base model on `backend`."""
        if backend is not None:
            return self.backend(backend).generate(target, prompts, parameters or GenerationParameters())
        host, job = self.endpoints.host(self._finished(target))
        return host.generate(job, prompts, parameters or GenerationParameters())

    def evaluate(self, request: "Request") -> "Evaluation":
        """Ask every model of a request the same rows, and say which is better; answers are kept for the next time."""
        return self.evaluations.evaluate(self.evaluations.plan(request)).result

    def compare(self, jobs: Sequence[str], request: "Request") -> "Choice":
        """Ask finished jobs of any backends the same rows, and return quality against cost and latency."""
        return self.evaluations.compare(jobs, request)

    def _data_folder(self) -> Path | None:
        """Return where canonical rows are kept, None where nothing can be written."""
        folder = (self._home or default_home()).absolute() / "data"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            return None
        return folder if os.access(folder, os.W_OK) else None

    def _backend_of(self, job: Job) -> Backend:
        return self.rehearsal(job.backend).backend if job.rehearsal else self.backend(job.backend)

    def _refreshed(self, job: Job) -> Job:
        try:
            return self.get(job.id)
        except TuneBridgeError as error:
            logger.warning("job %s is shown as it was last known: %s", job.id, error)
            return job

    def _finished(self, job_id: str) -> Job:
        job = self.get(job_id)
        if job.status != JobStatus.succeeded:
            raise failure(job)
        return job

    def _collect(self, job: Job) -> Job:
        """Write down the results of a job that has just succeeded."""
        if job.status == JobStatus.succeeded and not self.store.artifacts(job.id):
            self.store.set_artifacts(job.id, self._backend_of(job).artifacts(job))
        return job


def failure(job: Job) -> TuneBridgeError:
    """Return the error that says why a job has no result."""
    if job.status == JobStatus.submitting:
        hint = "Run `tunebridge jobs reconcile` to learn whether the backend has it."
    elif not job.status.is_terminal:
        hint = f"Follow it with `tunebridge jobs watch {job.id}`."
    else:
        hint = f"See `tunebridge jobs logs {job.id}`; go on with `tunebridge jobs resume {job.id}` where offered."
    reason = f": {job.error.rstrip('.')}" if job.error else ""
    return JobFailed(f"Job {job.id} is {job.status}{reason}. {hint}", job_id=job.id)
