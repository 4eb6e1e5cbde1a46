"""JobSpec -> a job of Hugging Face Jobs as a payload: pure, no I/O, no SDK.

The payload has three parts: `connection` (the namespace), `run` (the trainer's RunConfig) and `request` (machine,
image, timeout).
"""

from decimal import Decimal

from tunebridge.capabilities import Capabilities
from tunebridge.data.dataset import Dataset
from tunebridge.plan import Plan, Translation
from tunebridge.spec import JobSpec
from tunebridge.training import translate as trainer
from tunebridge.training.config import NANO
from tunebridge_huggingface import flavors
from tunebridge_huggingface.options import HuggingFaceOptions

SENT_AS = {
    **trainer.RUN_OPTIONS,
    "namespace": "connection.namespace",
    "flavor": "request.flavor",
    "image": "request.image",
    "timeout_hours": "request.timeout_hours",
    "hub_model_id": "connection.hub_model_id",
}
FIELDS = trainer.FIELDS | {
    "budget.max_usd",
    *(f"options.huggingface.{name}" for name in HuggingFaceOptions.model_fields),
}
DEFAULT = "TuneBridge's default"
START_HOURS = 0.5
"""What a run may take beyond its training: image, requirements, model, and the push of the result."""
FALLBACK = "l4x1"


def translate(spec: JobSpec, dataset: Dataset, capabilities: Capabilities) -> Plan:
    """Return the plan of a job that runs our trainer."""
    job = Translation(spec, dataset, backend="huggingface", capabilities=capabilities)
    trainer.translate_rented_run(job)
    options = job.options(HuggingFaceOptions, SENT_AS)
    job.take("options.huggingface.image", "request.image", default=options.image, source=DEFAULT)
    job.payload.setdefault("connection", {})
    chosen = options.flavor or _suggested(job)
    _end(job, options, chosen)
    return job.plan()


def _suggested(job: Translation) -> str:
    """Send the cheapest machine that fits, or ask for a choice."""
    model, field = str(job.spec.model_for("huggingface") or ""), "options.huggingface.flavor"
    adapter = str(job.get("method.adapter.type") or "lora")
    found = flavors.fitting(model or NANO, adapter)
    if found is None:
        job.refuse(field, f"no machine with one GPU is known to fit {model} with {adapter}; name a flavor")
        return FALLBACK
    source = f"the cheapest that fits, by {flavors.source()}"
    job.take(field, "request.flavor", default=found.name, source=source)
    return found.name


def _end(job: Translation, options: HuggingFaceOptions, chosen: str) -> None:
    """Send the timeout: the shortest that the budget leaves, with the trainer's own end before it."""
    field = "options.huggingface.timeout_hours"
    job.take(field, "request.timeout_hours", default=options.timeout_hours, source=DEFAULT)
    limits = [options.timeout_hours]
    if (hours := job.get("budget.max_hours")) is not None:
        limits.append(hours + START_HOURS)
    if (usd := job.get("budget.max_usd")) is not None:
        known = flavors.flavor(chosen)
        if known is None:
            job.refuse("budget.max_usd", f"no price of {chosen} is known here; set budget.max_hours instead")
            return
        limits.append(float(Decimal(usd) / known.usd_per_hour))
        said = f"the hours that it pays for at {known.usd_per_hour} USD ({flavors.source()}); checked again on submit"
        job.convert("budget.max_usd", "request.affordable_hours", limits[-1], said)
        job.payload["request"]["max_usd"] = str(usd)
    job.payload["request"]["timeout_seconds"] = int(min(limits) * 3600)
    if "max_hours" not in job.payload["run"] and len(limits) > 1:
        job.payload["run"]["max_hours"] = max(min(limits) - START_HOURS, min(limits) / 2)
