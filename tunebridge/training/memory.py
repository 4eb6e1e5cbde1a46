"""How much memory a run needs, so that a batch is cut to what fits before it fails, and again when it did not."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tunebridge.errors import SpecError, TuneBridgeError
from tunebridge.training.attention import EXPLICIT_MAX_LENGTH
from tunebridge.training.config import RunConfig
from tunebridge.training.device import Resources
from tunebridge.training.optimizer import BYTES_PER_TRAINED_WEIGHT
from tunebridge.training.rows import Unit
from tunebridge.training.sharding import local

SHARE_TO_USE = 0.6
"""Share of the free memory that activations may take; the estimate is rough."""
PREFERRED_TOKENS = {"cpu": 4096, "cuda": 16384}
"""Tokens per flat sequence beyond which a larger one is no faster."""
# What autograd keeps, measured over shapes, adapters and formats; the estimate is 1.1 to 1.8 times as much.
BYTES_PER_HIDDEN_UNIT, BYTES_PER_INNER_UNIT, BYTES_PER_ATTENTION_WEIGHT, BYTES_PER_LOGIT = 48, 8, 6, 12
EXPLICIT_MAX_TOKENS = max(EXPLICIT_MAX_LENGTH.values())
STEPS_PER_EPOCH, MOST_ROWS_PER_STEP = 16, 64
"""What bounds `batch_size: auto`: few rows are better learnt from in more steps, and larger steps are no faster."""


class OutOfMemory(TuneBridgeError):
    """Memory ran out, and there is nothing left that could be made smaller without the user's word."""

    exit_code = 2


@dataclass(frozen=True)
class Fit:
    """How a run is made to fit."""

    tokens_per_pass: int
    checkpoint_activations: bool = False
    """Whether each layer's activations are computed again for the backward pass instead of kept."""


def fit(model: Any, longest: int, device: str, optimizer: str = "adamw") -> Fit:
    """Return how many tokens one forward and backward pass may have; SpecError when the longest unit does not fit.

    Activations are kept where they fit, which is faster, and computed again where only that fits.
    """
    free, training = _free_bytes(device), optimizer_bytes(model, optimizer)
    if training > free:
        smaller = "" if optimizer == "adamw_8bit" else "the optimizer adamw_8bit, "
        raise SpecError(
            f"Training {training // BYTES_PER_TRAINED_WEIGHT[optimizer]:,} weights needs {_size(training)} of memory "
            f"for gradients and optimizer, and {_size(free)} are free. Choose {smaller}the lora adapter instead of "
            f"full fine-tuning, a smaller rank, or a smaller base model."
        )
    for again in (False, True):
        per_token = activation_bytes_per_token(model.config, longest, checkpointed=again)
        fits = int((free - training) * SHARE_TO_USE / per_token)
        if longest <= fits:
            return Fit(max(longest, min(PREFERRED_TOKENS[device], fits)), again)
    raise SpecError(
        f"A row of {longest} tokens needs about {_size(longest * per_token)} of memory, even with its "
        f"activations computed again for the backward pass, and {_size(free - training)} are free. Set "
        f"hyperparameters.max_length to {max(fits, 8)} or less, or choose a smaller base model."
    )


@dataclass(frozen=True)
class Batch:
    """How many rows a step takes where nobody said it, and why."""

    rows: int
    reason: str


def batch_of(units: Sequence[Unit], tokens_per_pass: int, *, least: int) -> Batch:
    """Return the rows of a step: the power of two that one pass takes, bounded so that a run has steps enough."""
    tokens = math.ceil(sum(unit.tokens for unit in units) / len(units))
    fits, spare = max(1, tokens_per_pass // tokens), max(1, len(units) // STEPS_PER_EPOCH)
    rows = max(least, 2 ** int(math.log2(min(fits, spare, MOST_ROWS_PER_STEP))))
    return Batch(
        rows,
        f"a pass of {tokens_per_pass:,} tokens takes {fits:,} rows of {tokens:,} tokens on average, "
        f"{STEPS_PER_EPOCH} steps an epoch leave {spare:,} of {len(units):,} rows, and at most {MOST_ROWS_PER_STEP}",
    )


def fitted(resources: Resources, found: Fit) -> Resources:
    """Return the resources with the size of their passes."""
    return replace(
        resources, tokens_per_pass=found.tokens_per_pass, checkpoint_activations=found.checkpoint_activations
    )


def smaller(resources: Resources, longest: int, run: RunConfig) -> Resources:
    """Return what to try after memory ran out: half the pass, then activations computed again; else OutOfMemory.

    `longest` is the largest unit of the step, which cannot be cut.
    """
    if resources.tokens_per_pass > longest:
        return replace(resources, tokens_per_pass=max(longest, resources.tokens_per_pass // 2))
    if not resources.checkpoint_activations:
        return replace(resources, checkpoint_activations=True)
    raise OutOfMemory(
        f"Memory ran out with a single row of {longest} tokens, its activations already computed again instead of "
        f"kept; batch_size {run.batch_size} plays no part in that. {_would_fit(longest, resources, run)}"
    )


def _would_fit(longest: int, resources: Resources, run: RunConfig) -> str:
    choices = [f"Set hyperparameters.max_length to {max(8, longest // 2)}"]
    if run.adapter.type == "full":
        choices.append("choose the adapter lora, which needs no optimizer state for the frozen weights")
        choices.append("set the trainer's option optimizer to adamw_8bit")
    elif run.adapter.type != "qlora" and resources.device == "cuda":
        choices.append("choose the adapter qlora, which keeps the frozen weights in 4 bits")
    if resources.dtype == "float32" and run.dtype == "float32":
        choices.append("set the trainer's option dtype to bfloat16")
    return ", ".join([*choices, "or choose a smaller base model"]) + "."


def optimizer_bytes(model: Any, optimizer: str = "adamw") -> int:
    """Return the bytes of gradients and optimizer state for the weights that are trained, in this process."""
    trained = sum(local(parameter).numel() for parameter in model.parameters() if parameter.requires_grad)
    return int(trained * BYTES_PER_TRAINED_WEIGHT[optimizer])


def activation_bytes_per_token(config: Any, longest_row: int, *, checkpointed: bool = False) -> int:
    """Return the bytes that one token's activations and logits take in training.

    `checkpointed`: each layer keeps its input only, and one layer at a time has its activations.
    """
    config = config.get_text_config()
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    # Longer rows go through the fused kernel, which keeps no attention weights.
    attention = config.num_attention_heads * min(longest_row, EXPLICIT_MAX_TOKENS) * BYTES_PER_ATTENTION_WEIGHT
    layer = config.hidden_size * BYTES_PER_HIDDEN_UNIT + inner * BYTES_PER_INNER_UNIT + attention
    layers = config.num_hidden_layers
    kept = layers * config.hidden_size * 4 + layer if checkpointed else layers * layer
    return int(kept + config.vocab_size * BYTES_PER_LOGIT)


def _size(bytes_: int) -> str:
    return f"{bytes_ / 2**30:.1f} GiB" if bytes_ >= 2**30 else f"{bytes_ / 2**20:.0f} MiB"


def _free_bytes(device: str) -> int:
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    try:
        import psutil
    except ImportError:
        return min(4 * 2**30, _container_bytes())
    return min(int(psutil.virtual_memory().available), _container_bytes())


def _container_bytes() -> int:
    """Return what this process's container may still take."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / name).read_text() for name in ("memory.max", "memory.current"))
        return max(0, int(limit) - int(used))
    except (OSError, ValueError):  # no container, or no limit (`max`)
        return sys.maxsize
