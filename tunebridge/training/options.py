"""Knobs of the trainer that every backend that runs it offers under its `options`."""

from typing import Annotated, Literal

from pydantic import Field

from tunebridge.spec import SpecModel


class TrainerOptions(SpecModel):
    """Knobs of the trainer, the same on this machine and on a rented one."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; `auto` takes a GPU when there is one."""
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """CPU threads; `auto` takes the cores that are free."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the forward and backward pass; `auto` takes bfloat16 where the machine has it natively."""
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    """`adamw_8bit` keeps the optimizer's averages in 8 bits and needs the extra `qlora`; it pays where every weight is
    trained."""
    keep: Literal["best", "last"] | None = None
    """Whose weights are the result: those of the lowest validation loss, or the last ones; unset: the best with early
    stopping, else the last."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 30.0
    """Seconds between two checkpoints; 0 writes one after every step."""
    keep_checkpoints: Annotated[int, Field(ge=1)] = 2
    """Checkpoints that are kept."""
    evaluations: Annotated[int, Field(ge=1)] = 10
    """Passes over the validation rows, spread evenly over the run."""
