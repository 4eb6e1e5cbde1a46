"""What one training run does: `run.json`, every value resolved, so that a run folder alone repeats it."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tunebridge.spec import SpecModel

RUN_FILE = "run.json"
TRAIN_FILE = "train.jsonl"
VALIDATION_FILE = "validation.jsonl"
EVENTS_FILE = "events.jsonl"
RESULT_FILE = "result.json"
LOG_FILE = "trainer.log"
LOCK_FILE = "trainer.lock"
CANCEL_FILE = "cancel.request"
CHECKPOINTS_FOLDER = "checkpoints"
ADAPTER_FOLDER = "adapter"
MODEL_FOLDER = "model"
NANO = "tunebridge/nano"
"""Name of the base model that is shipped with TuneBridge."""
RANDOM = "random"
"""Name of a nano-sized model with random weights, for unit tests."""


class AdapterConfig(SpecModel):
    """What is trained."""

    type: Literal["lora", "rslora", "dora", "qlora", "full"]
    rank: Annotated[int, Field(ge=1)] = 16
    alpha: Annotated[float, Field(gt=0)] = 32.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: tuple[str, ...] | None = None
    """None: every linear layer of the body."""


class RunConfig(SpecModel):
    """One run of the trainer, without any choice left open."""

    job_id: str
    base_model: str
    """`tunebridge/nano`, `random`, a model directory or a hub id."""
    adapter: AdapterConfig
    method: Literal["sft", "dpo", "kto"] = "sft"
    beta: Annotated[float, Field(gt=0)] = 0.1
    """Strength of the pull towards the base model (dpo, kto)."""
    epochs: Annotated[float, Field(gt=0)]
    max_steps: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"]
    """Rows per optimizer step; `auto`: as many as one pass takes, found when the model and the rows are loaded."""
    learning_rate: Annotated[float, Field(gt=0)]
    schedule: Literal["linear", "cosine", "constant"]
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    max_grad_norm: Annotated[float, Field(gt=0)]
    max_length: Annotated[int, Field(ge=8)]
    seed: Annotated[int, Field(ge=0)]
    too_long: Literal["error", "drop", "truncate"]
    keep: Literal["best", "last"] = "last"
    """Whose weights are the result: those of the lowest validation loss, or the last ones."""
    early_stopping_patience: Annotated[int, Field(ge=1)] | None = None
    evaluations: Annotated[int, Field(ge=1)] = 10
    """Validation passes spread evenly over the run, the last one at its end."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 30.0
    """Time between checkpoints; 0 writes one after every step. A checkpoint is also written when told to stop."""
    keep_checkpoints: Annotated[int, Field(ge=1)] = 2
    max_hours: Annotated[float, Field(gt=0)] | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    sharding: Literal["none", "fsdp"] = "none"
    """Whether several processes each hold the whole model, or a part of it (FSDP2)."""

    @property
    def rows_per_step(self) -> int:
        """Rows per optimizer step, once they are known."""
        assert self.batch_size != "auto"  # the trainer has put a number there before the first step
        return self.batch_size

    @model_validator(mode="after")
    def _kto_can_compare(self) -> Self:
        if self.method == "kto" and self.adapter.type == "full":
            raise ValueError("kto has its reference where the adapter is off, and full fine-tuning has no adapter")
        if self.method == "kto" and self.batch_size == 1:
            raise ValueError("kto compares the rows of a step, so batch_size must be 2 or more")
        return self

    def write(self, folder: Path) -> None:
        """Write `run.json` into the run folder."""
        (folder / RUN_FILE).write_text(self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "RunConfig":
        """Read `run.json` of a run folder."""
        return cls.model_validate_json((folder / RUN_FILE).read_bytes())
