"""The huggingface backend: our trainer on a machine of Hugging Face Jobs, its result on the hub."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from tunebridge.backend import Backend, Check, Generation, GenerationParameters, RemoteJob
from tunebridge.cost.price import Price
from tunebridge.data.dataset import Dataset
from tunebridge.data.example import Message
from tunebridge.errors import BackendError, BudgetExceeded, InvalidRequest
from tunebridge.job import Artifact, Job, Snapshot
from tunebridge.plan import Plan
from tunebridge.spec import JobSpec
from tunebridge.training.answer import answer_from_result
from tunebridge.training.bundle import write_bundle
from tunebridge.training.config import RunConfig
from tunebridge_huggingface import client, follow, machine, results
from tunebridge_huggingface.info import INFO
from tunebridge_huggingface.status import backend_error
from tunebridge_huggingface.translate import translate

MOUNT = "/tunebridge"
"""Where the uploaded source and run lie on the machine, to be read only."""


class HuggingFaceBackend(Backend):
    """Trains on a rented machine; a job's id here is `NAMESPACE/ID`, so that it is found whoever's token asks."""

    info = INFO

    def __init__(self, connect: Callable[[Mapping[str, Any]], client.Remote] = client.connect) -> None:
        self._connect = connect

    def plan(self, spec: JobSpec, dataset: Dataset) -> Plan:
        """Translate a job into a run of the trainer and the machine that it runs on."""
        return translate(spec, dataset, self.info.capabilities)

    def submit(self, plan: Plan, job: Job) -> str:
        """Upload source, run and rows to a private repository, then create the job with one call."""
        remote = self._connect(job.connection)
        _check_price(remote, plan.payload["request"])
        folder = job.folder / "upload"
        write_bundle(folder, RunConfig.model_validate({"job_id": job.id, **plan.payload["run"]}), job.folder)
        shutil.copyfile(machine.__file__, folder / "machine.py")
        source = f"{remote.namespace}/{job.id}-input"
        commit = remote.upload(folder, source)
        shutil.rmtree(folder)
        volume = {"type": "dataset", "source": source, "mount_path": MOUNT, "revision": commit, "read_only": True}
        asked = {
            **plan.payload["request"],
            "command": ["python", f"{MOUNT}/machine.py", f"{MOUNT}/run", _repository(remote, job)],
            "environment": {"PYTHONPATH": f"{MOUNT}/source"},
            "volumes": [volume],
        }
        return f"{remote.namespace}/{remote.create(asked, job.id)}"

    def find(self, job: Job) -> str | None:
        """Look for our id among the labels of the namespace's jobs."""
        remote = self._connect(job.connection)
        for found in remote.jobs({client.JOB_LABEL: job.id}, "find"):
            if found["labels"].get(client.JOB_LABEL) == job.id:
                return f"{remote.namespace}/{found['id']}"
        return None

    def poll(self, job: Job, cursor: str | None) -> Snapshot:
        """Return the job's stage, what its log says behind the cursor, and what it has cost once it has ended."""
        remote, identifier = self._reach(job)
        found = remote.job(identifier)
        log = [] if found["stage"] == "SCHEDULING" else remote.log(identifier)
        price = remote.prices("poll").get(found["flavor"]) if found["finished_at"] else None
        return follow.snapshot(found, log, cursor, price)

    def cancel(self, job: Job) -> None:
        """Ask the service to end the job."""
        remote, identifier = self._reach(job)
        remote.cancel(identifier)

    def artifacts(self, job: Job) -> Sequence[Artifact]:
        """Return the adapter or model that the machine pushed to the hub."""
        remote, _ = self._reach(job)
        return results.artifacts(remote, _repository(remote, job))

    def download(self, job: Job, artifact: Artifact, folder: Path) -> Path:
        """Copy the result from the hub and compare its digest with the one written after training."""
        remote, _ = self._reach(job)
        return results.download(remote, artifact, folder)

    def answers_here(self, target: Job | str) -> bool:
        """Every result is downloaded and answers on this machine."""
        return True

    def generate(
        self, target: Job | str, prompts: Sequence[Sequence[Message]], parameters: GenerationParameters
    ) -> Iterator[Generation]:
        """Yield answers, made on this machine with the downloaded result: the hub does not serve what was pushed."""
        yield from answer_from_result(self, target, prompts, parameters)

    def list_jobs(self) -> Iterator[RemoteJob]:
        """Yield the jobs of the token's user."""
        remote = self._connect({})
        for found in remote.jobs():
            ours = found["labels"].get(client.JOB_LABEL)
            name = f"{remote.namespace}/{found['id']}"
            yield RemoteJob(backend_id=name, backend_status=found["stage"], job_id=ours)

    def delete(self, job: Job) -> None:
        """Delete the repositories of the job's rows and of its result; the service keeps the record of the job."""
        remote, _ = self._reach(job)
        remote.remove(f"{remote.namespace}/{job.id}-input", "dataset")
        remote.remove(_repository(remote, job), "model")

    def list_prices(self, region: str | None = None) -> Sequence[Price]:
        """Return the hourly prices of all machines, as the hub lists them; it has no regions."""
        listed = self._connect({}).prices("prices")
        shared = {"backend": "huggingface", "meter": "training", "unit": "hour", "confidence": "high"}
        source = {"source_url": "https://huggingface.co/api/jobs/hardware", "as_of": date.today()}
        found = {name: usd for name, usd in listed.items() if usd is not None}
        return [Price.model_validate({**shared, **source, "sku": name, "usd": usd}) for name, usd in found.items()]

    def check(self) -> Check:
        """Tell whether the token is good, and whose it is."""
        try:
            remote = self._connect({})
            name, machines = remote.namespace, len(remote.prices("check"))
        except BackendError as error:
            return Check(ok=False, detail=str(error))
        return Check(ok=True, detail=f"The hub answers; {name} may choose among {machines} kinds of machine.")

    def classify(self, error: Exception, operation: str) -> BackendError:
        """Turn what the SDK raises into a BackendError."""
        return error if isinstance(error, BackendError) else backend_error(error, operation)

    def _reach(self, job: Job) -> tuple[client.Remote, str]:
        namespace, _, identifier = (job.backend_id or "").partition("/")
        return self._connect({**job.connection, "namespace": namespace}), identifier


def _repository(remote: client.Remote, job: Job) -> str:
    """Return the repository that the result goes to."""
    return str(job.connection.get("hub_model_id") or f"{remote.namespace}/{job.id}")


def _check_price(remote: client.Remote, asked: Mapping[str, Any]) -> None:
    """Look at what the service has and bills now, before anything is uploaded."""
    prices, name = remote.prices("submit"), asked["flavor"]
    if name not in prices:
        raise InvalidRequest(
            f"there is no machine {name!r}. Name one of {', '.join(prices)} as options.huggingface.flavor.",
            backend="huggingface",
            operation="submit",
        )
    most, price = asked.get("max_usd"), prices[name]
    if most is not None and (price is None or price * asked["timeout_seconds"] / 3600 > Decimal(most)):
        raise BudgetExceeded(
            f"{name} costs {price} USD an hour now, so {asked['timeout_seconds'] / 3600:.2f} hours cost more than "
            f"{most} USD. Lower budget.max_hours, or raise budget.max_usd."
        )
