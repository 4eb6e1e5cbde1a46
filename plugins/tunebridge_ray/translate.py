"""JobSpec -> a job of a Ray cluster as a payload: pure, no I/O, no SDK.

The payload has three parts: `connection` (cluster and storage), `run` (the trainer's RunConfig) and `request` (the
workers).
"""

from tunebridge.capabilities import Capabilities
from tunebridge.data.dataset import Dataset
from tunebridge.plan import Plan, Translation
from tunebridge.spec import JobSpec
from tunebridge.training import translate as trainer
from tunebridge_ray.options import RayOptions

REQUEST = ("num_workers", "cpus_per_worker", "gpus_per_worker", "max_failures", "requirements")
"""Options with a default that is sent as well, so that the plan shows it."""
SENT_AS = {
    **trainer.RUN_OPTIONS,
    "address": "connection.address",
    "storage": "connection.storage",
    "sharding": "run.sharding",
    "resources_per_worker": "request.resources_per_worker",
    **{name: f"request.{name}" for name in REQUEST},
}
FIELDS = trainer.FIELDS | {"budget.max_usd", *(f"options.ray.{name}" for name in RayOptions.model_fields)}
DEFAULT = "TuneBridge's default"


def translate(spec: JobSpec, dataset: Dataset, capabilities: Capabilities) -> Plan:
    """Return the plan of a job that runs our trainer on the cluster's workers."""
    job = Translation(spec, dataset, backend="ray", capabilities=capabilities)
    trainer.translate_rented_run(job)
    options = job.options(RayOptions, SENT_AS)
    for name in REQUEST:
        job.take(f"options.ray.{name}", f"request.{name}", default=getattr(options, name), source=DEFAULT)
    if not job.is_set("options.ray.threads"):
        threads = max(1, int(options.cpus_per_worker))
        job.take("options.ray.threads", "run.threads", default=threads, source="the worker's CPUs")
    if not options.storage:
        job.refuse("options.ray.storage", "no place for the run folder; name a shared folder or a place of fsspec")
    if options.device == "cuda" and not options.gpus_per_worker:
        job.refuse("options.ray.device", "Ray gives a worker no GPU unless options.ray.gpus_per_worker is 1")
    if job.is_set("budget.max_usd"):
        job.accept("budget.max_usd", "Ray sends no bill; what the cluster's machines cost is not known here")
    _sharding(job, options)
    return job.plan()


def _sharding(job: Translation, options: RayOptions) -> None:
    """Refuse parts where there is nothing to cut, or nothing that can be cut."""
    if options.sharding == "fsdp" and options.num_workers == 1:
        job.refuse("options.ray.sharding", "a single worker has nothing to share out; raise options.ray.num_workers")
    if options.sharding == "fsdp" and job.get("method.adapter.type") == "qlora":
        job.refuse("options.ray.sharding", "weights in 4 bits cannot be cut into parts; choose the adapter lora")
