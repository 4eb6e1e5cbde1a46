"""What the user wants, in provider-neutral words: one JobSpec, pure data without I/O."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=63)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class SpecModel(BaseModel):
    """Common settings: frozen, unknown keys refused, attribute docstrings are descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_bytes="base64")


def _from_type(value: object) -> object:
    """Let `sft` stand for `{type: sft}`, the form that most job files need."""
    return {"type": value} if isinstance(value, str) else value


class Adapter(SpecModel):
    """What is trained: a low-rank adapter beside the frozen weights, or every weight (`full`)."""

    type: Literal["lora", "rslora", "dora", "qlora", "full"] = "lora"
    """`lora` and its variants train a small adapter; `full` trains every weight."""
    rank: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Rank of the adapter's matrices. More rank: more capacity, more memory."""
    alpha: Annotated[float, Field(gt=0)] | None = None
    """Scale of the adapter; its effect is alpha / rank (rslora: alpha / sqrt(rank))."""
    dropout: Fraction | None = None
    """Share of the adapter's inputs that is set to zero while training."""
    target_modules: tuple[str, ...] | None = None
    """Names of the linear layers that get an adapter; unset: every linear layer of the body."""

    @model_validator(mode="after")
    def _full_has_no_rank(self) -> Self:
        extra = [name for name in ("rank", "alpha", "dropout", "target_modules") if name in self.model_fields_set]
        if self.type == "full" and extra:
            raise ValueError(f"full fine-tuning has no adapter, so {', '.join(extra)} cannot be set; remove them")
        return self


class Method(SpecModel):
    """How the model learns from the data."""

    type: Name = "sft"
    """`sft` (imitate answers), `dpo` (prefer one answer to another), `kto` (answers judged good or bad), or another
    that the backend declares."""
    adapter: Annotated[Adapter, BeforeValidator(_from_type)] = Adapter()
    """What is trained; the short form `adapter: full` is the same as `adapter: {type: full}`."""
    beta: Annotated[float, Field(gt=0)] | None = None
    """Strength of the pull towards the base model in preference methods such as dpo and kto."""


class Hyperparameters(SpecModel):
    """How the optimizer runs. An unset field means the backend's own default."""

    epochs: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Passes over the training rows."""
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps after which training ends, whatever `epochs` says."""
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] | None = None
    """Rows per optimizer step."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    """Peak learning rate of the optimizer, absolute."""
    learning_rate_multiplier: Annotated[float, Field(gt=0)] | None = None
    """Factor on the service's own learning rate; never turned into an absolute rate unless allowed."""
    schedule: Literal["linear", "cosine", "constant"] | None = None
    """Shape of the learning rate after the warm-up."""
    warmup_ratio: Fraction | None = None
    """Share of the steps in which the learning rate rises from zero."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None = None
    """Pull of the weights towards zero, as in AdamW."""
    max_grad_norm: Annotated[float, Field(gt=0)] | None = None
    """Norm to which the gradient is clipped."""
    max_length: Annotated[int, Field(ge=8)] | None = None
    """Tokens per row at most."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    """Seed of the data order, the adapter's start and dropout."""
    early_stopping_patience: Annotated[int, Field(ge=1)] | None = None
    """Evaluations without a better validation loss after which training ends."""

    @model_validator(mode="after")
    def _one_learning_rate(self) -> Self:
        if self.learning_rate is not None and self.learning_rate_multiplier is not None:
            raise ValueError("learning_rate and learning_rate_multiplier exclude each other; remove one of them")
        return self


def _share(value: object) -> object:
    """Read `10%` as 0.1."""
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            return float(value.strip()[:-1]) / 100
        except ValueError:
            return value
    return value


ValidationShare = Annotated[float, Field(gt=0, lt=1)]


class DataSpec(SpecModel):
    """Which rows are trained on and which are held out."""

    train: str | tuple[str, ...]
    """File of training rows, or several: a path relative to the job file, a pattern such as `rows/*.jsonl`, a folder
    that `datasets` saved, or a URL."""
    validation: Annotated[ValidationShare | str | tuple[str, ...] | None, BeforeValidator(_share)] = None
    """Files of held-out rows, or a share of the training rows such as `10%`, chosen by content hash."""
    group: str | None = None
    """Key of the rows or their metadata whose values are never split between training and held-out rows."""
    stratify: str | None = None
    """Key of the rows or their metadata of whose every value the same share is held out."""
    format: str | None = None
    """Shape of the rows, such as `chat` or `prompt_completion`; unset: found from the rows."""
    columns: dict[str, str] | None = None
    """Names of the user's columns for ours, such as `{prompt: question, completion: answer}`."""
    lossy: Literal["error", "warn", "allow"] = "warn"
    """What to do with a row that the backend can only take with a loss."""
    too_long: Literal["error", "drop", "truncate"] = "error"
    """What to do with a row longer than `max_length`; dropped and cut rows are counted and shown."""


class Budget(SpecModel):
    """What the job may cost at most."""

    max_usd: Annotated[Decimal, Field(gt=0)] | None = None
    """US dollars for the whole job: it is not sent where its estimate may go above, and cancelled when it does."""
    project: Name | None = None
    """Whose budget pays for it (`tunebridge budget set PROJECT USD`); unset: `default`."""
    max_hours: Annotated[float, Field(gt=0)] | None = None
    """Hours of training after which the job is stopped."""


class Allow(SpecModel):
    """Changes to the job that the user accepts; without it nothing is dropped or changed in meaning."""

    drop: tuple[str, ...] = ()
    """Fields that may be left out where the backend has nothing like them, such as `hyperparameters.seed`."""
    convert: tuple[str, ...] = ()
    """Fields that may be changed in meaning, such as `hyperparameters.learning_rate` into a multiplier."""


class JobSpec(SpecModel):
    """A fine-tuning job for any backend."""

    backend: Name
    """The one line that is changed to switch backend."""
    base_model: str | dict[str, str]
    """Name of the model to tune, or one name per backend."""
    data: DataSpec
    """The rows."""
    name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")] | None = None
    """A name for people; jobs are told apart by their id."""
    method: Annotated[Method, BeforeValidator(_from_type)] = Method()
    """How the model learns; the short form `method: dpo` is the same as `method: {type: dpo}`."""
    hyperparameters: Hyperparameters = Hyperparameters()
    """How the optimizer runs."""
    budget: Budget = Budget()
    """What it may cost at most."""
    options: dict[Name, dict[str, Any]] = {}
    """Vendor-only knobs, one section per backend; only the chosen backend's section is read."""
    allow: Allow = Allow()
    """Changes that are accepted."""
    metadata: dict[str, str] = {}
    """Labels of your own, kept with the job."""

    def model_for(self, backend: str) -> str | None:
        """Return the base model's name for a backend, None where a per-backend table has no row for it."""
        return self.base_model if isinstance(self.base_model, str) else self.base_model.get(backend)

    def set_fields(self) -> dict[str, Any]:
        """Return each field that the user set, as dotted path -> value; other backends' options are left out."""
        fields = dict(_walk(self, ""))
        fields.update({f"options.{self.backend}.{k}": v for k, v in self.options.get(self.backend, {}).items()})
        return fields

    def to_json(self) -> dict[str, Any]:
        """Return the fields that were set as plain JSON values; reading them gives an equal spec."""
        return self.model_dump(mode="json", exclude_unset=True)


# These hold the user's own keys: the field is one value, not a section to walk into.
_LEAVES = frozenset({"base_model", "options", "metadata", "data.columns"})


def _walk(model: BaseModel, prefix: str) -> Iterator[tuple[str, Any]]:
    for name in type(model).model_fields:
        if name not in model.model_fields_set or prefix + name == "options":
            continue
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _walk(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def field_paths() -> tuple[str, ...]:
    """Return every dotted field path of a JobSpec, in the order of the declaration."""
    return tuple(_paths(JobSpec, ""))


def _paths(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if prefix + name not in _LEAVES and isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _paths(kind, f"{prefix}{name}.")
        else:
            yield prefix + name
