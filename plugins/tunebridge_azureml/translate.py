"""JobSpec -> an Azure ML job as a payload: pure, no SDK.

The payload has `connection` (which workspace, which mode) and `request` (machine, environment, names); in the mode
`command` also `run` (the trainer's RunConfig), in the mode `finetuning` the service's own hyperparameters.
"""

from typing import Any

from tunebridge.capabilities import Capabilities
from tunebridge.data.dataset import Dataset
from tunebridge.plan import Plan, Translation
from tunebridge.spec import JobSpec
from tunebridge.training.translate import FIELDS as RUN_FIELDS
from tunebridge.training.translate import RUN_OPTIONS, translate_rented_run
from tunebridge_azureml.options import AzureMLOptions

CONNECTION = ("subscription", "resource_group", "workspace", "mode", "datastore", "endpoint_instance_type")
ONLY_COMMAND = ("image", "conda_file", "environment", "shm_size", "endpoint_instance_type", *RUN_OPTIONS)
ONLY_FINETUNING = ("task",)
REGISTRY = "azureml://registries/"
# Spec field -> name among the managed job's hyperparameters, which are strings.
MANAGED: dict[str, str] = {
    "hyperparameters.epochs": "num_train_epochs",
    "hyperparameters.max_steps": "max_steps",
    "hyperparameters.batch_size": "per_device_train_batch_size",
    "hyperparameters.learning_rate": "learning_rate",
    "hyperparameters.schedule": "lr_scheduler_type",
    "hyperparameters.warmup_ratio": "warmup_ratio",
    "hyperparameters.weight_decay": "weight_decay",
    "hyperparameters.max_grad_norm": "max_grad_norm",
    "hyperparameters.max_length": "max_seq_length",
    "hyperparameters.seed": "seed",
    "method.adapter.rank": "lora_r",
    "method.adapter.alpha": "lora_alpha",
    "method.adapter.dropout": "lora_dropout",
}
"""Names of the text components in Azure's registry; a model may have others, and then fails when it is sent."""

FIELDS = frozenset(
    {*(RUN_FIELDS - {"method.beta"}), *(f"options.azureml.{name}" for name in AzureMLOptions.model_fields)}
)


def translate(spec: JobSpec, dataset: Dataset, capabilities: Capabilities) -> Plan:
    """Return the plan of a job in the mode that its options name."""
    job = Translation(spec, dataset, backend="azureml", capabilities=capabilities)
    options = job.options(AzureMLOptions, _sent_as())
    for name in ("mode", "datastore", "endpoint_instance_type"):
        job.take(f"options.azureml.{name}", f"connection.{name}", default=getattr(options, name), source="unless set")
    if options.mode == "command":
        translate_rented_run(job)
    else:
        _managed(job, options)
    _refuse_other_mode(job, options.mode)
    return job.plan()


def _sent_as() -> dict[str, str]:
    request = {name: f"request.{name}" for name in AzureMLOptions.model_fields}
    return {**request, **RUN_OPTIONS, **{name: f"connection.{name}" for name in CONNECTION}}


def _managed(job: Translation, options: AzureMLOptions) -> None:
    model = job.base_model("request.model")
    if not model.startswith(REGISTRY):
        job.refuse("base_model", f"a managed job takes a model of a registry: {REGISTRY}NAME/models/MODEL/versions/N")
    job.choose("method.type", "request.method", {"sft": "sft"}, default="sft")
    job.take("options.azureml.task", "request.task", default="ChatCompletion", source="unless set")
    if job.dataset.kind == "text" and options.task != "TextCompletion":
        job.refuse("data.train", "rows of plain text are for task: TextCompletion")
    _refuse_rows_with_more(job)
    for field, name in MANAGED.items():
        value = job.get(field)
        if value is not None and value != "auto":
            job.convert(field, f"request.hyperparameters.{name}", _text(value), "the same value as a string")
        elif value == "auto":
            job.accept(field, "the service chooses it")
    adapter = job.get("method.adapter.type")
    if adapter is not None:
        lora = "true" if adapter == "lora" else "false"
        job.convert("method.adapter.type", "request.hyperparameters.apply_lora", lora, "apply_lora says it")


def _refuse_rows_with_more(job: Translation) -> None:
    """Refuse rows that have more than role and text: a managed job's component takes nothing else."""
    for number, row in enumerate((*job.dataset.train, *(job.dataset.validation or ())), start=1):
        if row.features or any(not isinstance(turn.content, str) for turn in row.messages or ()):
            found = ", ".join(sorted(row.features)) or "a turn that is no plain text"
            job.refuse("data.train", f"row {number} has {found}; a managed job takes role and text only")
            return


def _refuse_other_mode(job: Translation, mode: str) -> None:
    for name in ONLY_FINETUNING if mode == "command" else ONLY_COMMAND:
        if job.is_set(f"options.azureml.{name}"):
            job.refuse(f"options.azureml.{name}", f"the mode {mode} does not use it; remove it")


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
