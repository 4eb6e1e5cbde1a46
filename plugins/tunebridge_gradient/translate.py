"""JobSpec -> an adapter of Gradient.AI and the calls that tune it, as a payload: pure, no I/O, no SDK.

The payload has three parts: `connection` (host, workspace), `adapter` (what the create call takes) and `calls` (how
our worker goes through the samples).
"""

from tunebridge.capabilities import Capabilities
from tunebridge.data.dataset import Dataset
from tunebridge.plan import Plan, Translation
from tunebridge.spec import JobSpec
from tunebridge_gradient.options import GradientOptions

MAX_RANK = 32
DEFAULT_EPOCHS = 3
SERVICE_DEFAULT = "chosen by the service"
OUR_DEFAULT = "TuneBridge's default"
SENT_AS = {
    "host": "connection.host",
    "workspace_id": "connection.workspace_id",
    "chunk_samples": "calls.chunk_samples",
    "timeout_seconds": "calls.timeout_seconds",
}
FIELDS = frozenset(
    {
        "base_model",
        "method.type",
        "method.adapter.type",
        "method.adapter.rank",
        "hyperparameters.epochs",
        "hyperparameters.learning_rate",
        "hyperparameters.seed",
        *(f"options.gradient.{name}" for name in GradientOptions.model_fields),
    }
)


def translate(spec: JobSpec, dataset: Dataset, capabilities: Capabilities) -> Plan:
    """Return the plan of an adapter and the calls that tune it."""
    job = Translation(spec, dataset, backend="gradient", capabilities=capabilities)
    job.base_model("adapter.base_model")
    options = job.options(GradientOptions, SENT_AS)
    for name in ("chunk_samples", "timeout_seconds"):
        default = getattr(options, name)
        job.take(f"options.gradient.{name}", f"calls.{name}", default=default, source=OUR_DEFAULT)
    _rank(job)
    _learning_rate(job)
    _epochs(job)
    job.take("hyperparameters.seed", "calls.seed")
    job.payload["calls"]["shape"] = "text" if dataset.kind == "text" else "inputs"
    job.warn(
        "Each chunk of samples is one call without an id: where its answer is lost it is sent again, and may have been "
        "applied twice."
    )
    return job.plan()


def _rank(job: Translation) -> None:
    rank = job.get("method.adapter.rank")
    if rank is not None and rank > MAX_RANK:
        job.refuse("method.adapter.rank", f"the service takes 1 to {MAX_RANK}")
    else:
        job.take("method.adapter.rank", "adapter.rank")


def _learning_rate(job: Translation) -> None:
    rate = job.get("hyperparameters.learning_rate")
    if rate is not None and rate >= 1:
        job.refuse("hyperparameters.learning_rate", "the service takes rates below 1")
    else:
        job.take("hyperparameters.learning_rate", "adapter.learning_rate")


def _epochs(job: Translation) -> None:
    epochs = job.get("hyperparameters.epochs")
    if epochs is None:
        job.take("hyperparameters.epochs", "calls.epochs", default=DEFAULT_EPOCHS, source=OUR_DEFAULT)
    elif epochs != int(epochs):
        job.refuse("hyperparameters.epochs", "samples are sent in whole passes; round it")
    else:
        job.convert("hyperparameters.epochs", "calls.epochs", int(epochs), "the same number as an integer")
