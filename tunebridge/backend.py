"""The contract of a backend: who it is (BackendInfo), what it can do (Capabilities), what it does (Backend)."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from tunebridge.capabilities import Capabilities
from tunebridge.cost.price import Price
from tunebridge.data.dataset import Dataset
from tunebridge.data.example import Message
from tunebridge.errors import BackendError, ServiceUnavailable, UnsupportedFeature
from tunebridge.job import Artifact, Deployment, Job, Snapshot
from tunebridge.plan import Plan
from tunebridge.spec import JobSpec, SpecModel

if TYPE_CHECKING:
    from tunebridge.cost.bill import Billing
    from tunebridge.testing.case import BackendCase


MERGED_FOLDER = "merged"
"""Folder of a job with its whole model, while another backend takes it over."""


@dataclass(frozen=True)
class BackendInfo:
    """Static description of a backend; making one imports no vendor SDK."""

    name: str
    title: str
    capabilities: Capabilities
    load: Callable[[], type["Backend"]]
    """Import and return the Backend subclass."""
    extra: str | None = None
    """Name of the optional dependency group that brings the vendor's SDK."""
    requires: tuple[str, ...] = ()
    """Import names that must be there to run jobs; planning needs none of them."""
    options: type[BaseModel] | None = None
    """Schema of the vendor-only `options.<name>` section."""
    notice: str | None = None
    """What a user should know before using it, such as a closing date."""
    rehearse: Callable[[Path], "Rehearsal"] | None = None
    """Return the backend connected to an emulator of its vendor, which keeps its state in a folder."""
    billing: Callable[[], "Billing"] | None = None
    """Return how the service bills: its rule and its packaged prices; None: estimates say that there is no rule."""
    conformance: Callable[[], "BackendCase"] | None = None
    """Return what `tunebridge check-plugin` tests the backend with."""


@dataclass(frozen=True)
class Rehearsal:
    """A backend that talks to an emulator on 127.0.0.1 and to nothing else, with credentials made for it."""

    backend: "Backend"
    base_model: str
    """Stands in where the job names no model for this backend."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Stand-ins for options that the real service needs, such as a role, a bucket or a project."""

    def fill(self, spec: JobSpec) -> JobSpec:
        """Return the job with stand-ins where it leaves open what the backend needs."""
        name = self.backend.info.name
        options = {**self.options, **spec.options.get(name, {})}
        model = spec.model_for(name) or self.base_model
        values = {**spec.to_json(), "base_model": model, "options": {**spec.options, name: options}}
        return JobSpec.model_validate(values)


class GenerationParameters(SpecModel):
    """How answers are generated."""

    max_tokens: int = 256
    temperature: float = 0.0
    """0 is greedy: the same answer each time."""
    seed: int = 0


class Generation(SpecModel):
    """One answer."""

    output: str
    finish_reason: Literal["stop", "length", "error"] = "stop"
    tokens: int | None = None
    """Tokens generated, where the backend says so."""


class Check(SpecModel):
    """What `Backend.check` found."""

    ok: bool
    detail: str
    """One sentence for people: what was reached, or what to do."""


class RemoteJob(SpecModel):
    """A job as the backend lists it."""

    backend_id: str
    backend_status: str
    job_id: str | None = None
    """Our id, where the job carries one."""


class Backend(ABC):
    """Runs jobs. A subclass implements the six abstract methods and what its Capabilities promise beyond.

    No vendor exception leaves a method: wrap calls so that `classify` turns them into BackendError.
    """

    info: BackendInfo

    @abstractmethod
    def plan(self, spec: JobSpec, dataset: Dataset) -> Plan:
        """Translate a job, offline and without credentials; every field that the user set is accounted for."""

    @abstractmethod
    def submit(self, plan: Plan, job: Job) -> str:
        """Create the job once, with the SDK's own retries off and `job.id` attached; return the backend's id.

        The canonical rows lie in `job.folder` as `train.jsonl` and, where there are any, `validation.jsonl`.
        Raise ServiceUnavailable (or any error with `outcome_unknown`) when it may have been created all the same.
        """

    @abstractmethod
    def find(self, job: Job) -> str | None:
        """Return the backend's id of the job that carries `job.id`, None when there is none."""

    @abstractmethod
    def poll(self, job: Job, cursor: str | None) -> Snapshot:
        """Return the job's state and what happened since `cursor` (None: since its start)."""

    @abstractmethod
    def cancel(self, job: Job) -> None:
        """Ask the backend to stop the job; a later poll tells when it has."""

    @abstractmethod
    def artifacts(self, job: Job) -> Sequence[Artifact]:
        """Return the results of a job that succeeded."""

    def pause(self, job: Job) -> None:
        """Stop a running job for now; a later poll tells when it is paused."""
        raise self.unsupported("pause")

    def resume(self, job: Job) -> None:
        """Go on with a job that is paused, or that failed or was cancelled, from its last checkpoint."""
        raise self.unsupported("resume")

    def needs_endpoint(self, job: Job) -> bool:
        """Whether the job's model answers only at an endpoint; a backend of several services decides by connection."""
        return self.info.capabilities.deploy

    def quote(self, job: Job) -> Deployment:
        """Return the endpoint that `deploy` would make for a finished job, with its hourly price; nothing is made."""
        raise self.unsupported("deploy")

    def host(self, job: Job, options: Mapping[str, Any]) -> Deployment:
        """Return the endpoint that would be made here for a job of another backend; nothing is made.

        `options` are this backend's section of the job file. Later calls get the job with the endpoint's `connection`
        as its own; the merged weights lie in `job.folder / MERGED_FOLDER` when `deploy` is called.
        """
        raise self.unsupported("deploy for models that another backend trained")

    def deploy(self, job: Job) -> Deployment:
        """Make the endpoint of `job.deployment` (its quote), or find it when it is there already, and return it."""
        raise self.unsupported("deploy")

    def deployment(self, job: Job) -> Deployment | None:
        """Return the state of the job's endpoint as it is now, None when there is none."""
        raise self.unsupported("deploy")

    def undeploy(self, job: Job) -> None:
        """Remove the endpoint and everything that was made for it; an endpoint that is gone is no error."""
        raise self.unsupported("deploy")

    def generate(
        self, target: Job | str, prompts: Sequence[Sequence[Message]], parameters: GenerationParameters
    ) -> Iterator[Generation]:
        """Yield one answer per prompt, in order, from a finished job's model or a base model by name."""
        raise self.unsupported("generate")

    def answers_here(self, target: Job | str) -> bool:
        """Whether `generate` loads the model on this machine for each call, so that many prompts should share one."""
        return False

    def download(self, job: Job, artifact: Artifact, folder: Path) -> Path:
        """Copy an artifact into a folder, check its digest, and return where it is."""
        raise self.unsupported("download")

    def export(self, job: Job, folder: Path, *, to: str, push: str | None = None) -> Path:
        """Write a finished job's result in another form (`merged`, `gguf`, ...); `push` names a hub repository."""
        raise self.unsupported("export")

    def list_jobs(self) -> Iterator[RemoteJob]:
        """Yield the jobs that the backend knows, ours and others."""
        raise self.unsupported("list_jobs")

    def delete(self, job: Job) -> None:
        """Delete what the job left on the backend."""
        raise self.unsupported("delete")

    def list_prices(self, region: str | None = None) -> Sequence[Price]:
        """Return today's prices as the vendor lists them, of the known regions or of another one; asks the network."""
        raise self.unsupported("prices refresh")

    def check(self) -> Check:
        """Tell whether the backend can be reached with the credentials at hand."""
        return Check(ok=True, detail="Nothing to check.")

    def classify(self, error: Exception, operation: str) -> BackendError:
        """Turn a vendor's exception into a BackendError; by default its outcome is unknown.

        Only the exception's type is kept: a vendor's message may carry a secret, so a plugin that
        knows its vendor's messages to be clean overrides this.
        """
        if isinstance(error, BackendError):
            return error
        reason = f"{type(error).__name__}. Run `tunebridge jobs reconcile` to learn what happened."
        return ServiceUnavailable(reason, backend=self.info.name, operation=operation)

    def unsupported(self, feature: str) -> UnsupportedFeature:
        """Return the error for something that this backend does not offer."""
        name = self.info.name
        return UnsupportedFeature(
            f"The {name} backend does not offer {feature}. `tunebridge backends` shows which backends do.",
            feature=feature,
            backend=name,
        )

    def options(self, spec: JobSpec) -> dict[str, Any]:
        """Return the job's options for this backend."""
        return dict(spec.options.get(self.info.name, {}))
