"""JobSpec -> a request of OpenAI's dialect as a payload: pure, no I/O, no SDK.

The payload has three parts: `connection` (which service, where), `rows` (which shape the files have) and `request`
(the body of the create call, without the ids of files that are not uploaded yet).
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

from tunebridge.capabilities import Capabilities
from tunebridge.data.dataset import Dataset
from tunebridge.plan import Plan, Translation
from tunebridge.spec import JobSpec
from tunebridge_openai import services
from tunebridge_openai.files import target
from tunebridge_openai.options import OpenAIOptions

METHODS = {"sft": "supervised", "dpo": "dpo", "reinforcement": "reinforcement"}
SHAPES = {"sft": "chat", "dpo": "dpo", "reinforcement": "rft"}
"""Method -> name of the target whose shape its rows take."""
CONNECTION = (
    "service",
    "base_url",
    "api_version",
    "key_variable",
    "entra",
    "organization",
    "project",
    "subscription",
    "resource_group",
    "account",
    "sku",
    "capacity",
)
ONLY_FOR = {
    "l2_multiplier": "dpo",
    "grader": "reinforcement",
    "compute_multiplier": "reinforcement",
    "eval_interval": "reinforcement",
    "eval_samples": "reinforcement",
    "reasoning_effort": "reinforcement",
}
SERVICE_DEFAULT = "chosen by the service from the data"

FIELDS = frozenset(
    {
        "base_model",
        "method.type",
        "method.adapter.type",
        "method.beta",
        "hyperparameters.epochs",
        "hyperparameters.batch_size",
        "hyperparameters.learning_rate_multiplier",
        "hyperparameters.seed",
        *(f"options.openai.{name}" for name in OpenAIOptions.model_fields),
    }
)


def translate(spec: JobSpec, dataset: Dataset, capabilities: Capabilities, today: date) -> Plan:
    """Return the plan of a job; `today` decides what has closed."""
    job = Translation(spec, dataset, backend="openai", capabilities=capabilities)
    model = job.base_model("request.model")
    method = job.choose("method.type", "request.method.type", METHODS, default=job.method)
    word = METHODS.get(method, "supervised")
    options = job.options(OpenAIOptions, _sent_as(word))
    if not job.is_set("options.openai.service"):
        job.take("options.openai.service", "connection.service", default="openai", source="the dialect's own service")
    _check_options(job, options, method)
    _hyperparameters(job, method, f"request.method.{word}.hyperparameters")
    if job.is_set("method.adapter.type") and job.get("method.adapter.type") in capabilities.adapters:
        job.accept("method.adapter.type", "the service keeps to itself what it trains; nothing is sent")
    job.take("hyperparameters.seed", "request.seed")
    _rows(job, options, SHAPES.get(method, "chat"))
    _lifetime(job, options.service, model, today)
    return job.plan()


def request(payload: Mapping[str, Any], job_id: str, files: Mapping[str, str]) -> dict[str, Any]:
    """Return the body of the create call: the plan's request, our id, and the uploaded files by split."""
    body = dict(payload["request"])
    body["training_file"] = files["train"]
    if "validation" in files:
        body["validation_file"] = files["validation"]
    wandb = body.pop("wandb", None)
    if wandb:
        body["integrations"] = [{"type": "wandb", "wandb": wandb}]
    body["metadata"] = {JOB_KEY: job_id}
    return body


JOB_KEY = "tunebridge_job"
"""Key of our id in the service's metadata."""


def _rows(job: Translation, options: OpenAIOptions, shape: str) -> None:
    """Say in which shape the rows are uploaded; only rows of the method's kind can be in it."""
    found = target(options.service, shape, byte_order_mark=bool(options.byte_order_mark))
    job.payload["rows"] = {"shape": shape, "byte_order_mark": found.byte_order_mark}
    if job.dataset.kind in found.kinds:
        job.rows_as(found)


def _sent_as(word: str) -> dict[str, str]:
    knobs = f"request.method.{word}.hyperparameters"
    return {
        **{name: f"connection.{name}" for name in CONNECTION},
        "suffix": "request.suffix",
        "wandb": "request.wandb",
        "training_type": "request.trainingType",
        "byte_order_mark": "rows.byte_order_mark",
        "grader": f"request.method.{word}.grader",
        **{name: f"{knobs}.{name}" for name in ONLY_FOR if name != "grader"},
    }


def _check_options(job: Translation, options: OpenAIOptions, method: str) -> None:
    service = services.service(options.service)
    for name, wanted in ONLY_FOR.items():
        if getattr(options, name) is not None and method != wanted:
            job.refuse(f"options.openai.{name}", f"it belongs to the method {wanted}; remove it")
    if method == "reinforcement" and options.grader is None:
        job.refuse("options.openai.grader", "reinforcement needs a grader; set it in the service's own words")
    if options.suffix and (why := service.refuses_suffix(options.suffix)):
        job.refuse("options.openai.suffix", why)
    if options.l2_multiplier is not None and options.service != "azure":
        job.refuse("options.openai.l2_multiplier", "only Azure has it; remove it")


def _hyperparameters(job: Translation, method: str, path: str) -> None:
    _epochs(job, f"{path}.n_epochs")
    _bounded(job, "hyperparameters.batch_size", f"{path}.batch_size", "batch_size")
    job.take(
        "hyperparameters.learning_rate_multiplier",
        f"{path}.learning_rate_multiplier",
        default="auto",
        source=SERVICE_DEFAULT,
    )
    if job.is_set("hyperparameters.learning_rate"):
        job.drop(
            "hyperparameters.learning_rate",
            "it is absolute, and the service takes only a factor on a rate that it does not publish; "
            "set hyperparameters.learning_rate_multiplier instead",
        )
    if method == "dpo":
        _bounded(job, "method.beta", f"{path}.beta", "beta")
    elif job.is_set("method.beta"):
        job.refuse("method.beta", f"it belongs to the method dpo, not {method}; remove it")


def _epochs(job: Translation, sent_as: str) -> None:
    epochs = job.get("hyperparameters.epochs")
    if epochs is not None and epochs != int(epochs):
        job.refuse("hyperparameters.epochs", "the service trains whole passes only; round it")
    elif epochs is not None:
        if not _outside(job, "hyperparameters.epochs", "n_epochs"):
            job.convert("hyperparameters.epochs", sent_as, int(epochs), "the same number as an integer")
    else:
        job.take("hyperparameters.epochs", sent_as, default="auto", source=SERVICE_DEFAULT)


def _bounded(job: Translation, field: str, sent_as: str, name: str) -> None:
    if not _outside(job, field, name):
        job.take(field, sent_as, default="auto", source=SERVICE_DEFAULT)


def _outside(job: Translation, field: str, name: str) -> bool:
    """Refuse a value beyond the service's bounds and say whether it was."""
    value, (low, high) = job.get(field), services.bounds()[name]
    if isinstance(value, int | float) and not low <= value <= high:
        job.refuse(field, f"the service takes {name} from {low:g} to {high:g}")
        return True
    return False


def _lifetime(job: Translation, service: str, model: str, today: date) -> None:
    known = services.lifetime(service, model)
    if known is None:
        return
    if why := known.closed(today):
        job.refuse("base_model", f"{why}; choose another model or backend")
    elif warning := known.warning(today):
        job.warn(warning)
