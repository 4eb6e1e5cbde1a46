"""How much memory a run needs, so that a batch is cut to what fits before it fails."""

import sys
from pathlib import Path
from typing import Any

import torch

from tunebridge.errors import SpecError
from tunebridge.training.attention import EXPLICIT_MAX_LENGTH

SHARE_TO_USE = 0.6
"""Share of the free memory that activations may take; the estimate is rough."""
PREFERRED_TOKENS = {"cpu": 4096, "cuda": 16384}
"""Tokens per flat sequence beyond which a larger one is no faster."""
# What autograd keeps, measured over shapes, adapters and formats; the estimate is 1.1 to 1.8 times as much.
BYTES_PER_HIDDEN_UNIT, BYTES_PER_INNER_UNIT, BYTES_PER_ATTENTION_WEIGHT, BYTES_PER_LOGIT = 48, 8, 6, 12
BYTES_PER_TRAINED_WEIGHT = 12
"""A gradient and AdamW's two averages."""


def tokens_per_pass(model: Any, longest_row: int, device: str) -> int:
    """Return how many tokens one forward and backward pass may have; SpecError when the longest row does not fit."""
    free, training = _free_bytes(device), optimizer_bytes(model)
    if training > free:
        raise SpecError(
            f"Training {training // BYTES_PER_TRAINED_WEIGHT:,} weights needs {training / 2**30:.1f} GiB of memory for "
            f"gradients and optimizer, and {free / 2**30:.1f} GiB are free. Choose the lora adapter instead of full "
            f"fine-tuning, a smaller rank, or a smaller base model."
        )
    per_token = activation_bytes_per_token(model.config, longest_row)
    fits = int((free - training) * SHARE_TO_USE / per_token)
    if longest_row > fits:
        raise SpecError(
            f"A row of {longest_row} tokens needs about {longest_row * per_token / 2**30:.1f} GiB of memory, and "
            f"{(free - training) / 2**30:.1f} GiB are free. Set hyperparameters.max_length to {max(fits, 8)} or "
            f"less, or choose a smaller base model."
        )
    return max(longest_row, min(PREFERRED_TOKENS[device], fits))


def optimizer_bytes(model: Any) -> int:
    """Return the bytes of gradients and optimizer state for the weights that are trained."""
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return int(trained * BYTES_PER_TRAINED_WEIGHT)


def activation_bytes_per_token(config: Any, longest_row: int) -> int:
    """Return the bytes that one token's activations and logits take in training."""
    config = config.get_text_config()
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    # Longer rows go through the fused kernel, which keeps no attention weights.
    attention = config.num_attention_heads * min(longest_row, EXPLICIT_MAX_LENGTH) * BYTES_PER_ATTENTION_WEIGHT
    layer = config.hidden_size * BYTES_PER_HIDDEN_UNIT + inner * BYTES_PER_INNER_UNIT + attention
    return int(config.num_hidden_layers * layer + config.vocab_size * BYTES_PER_LOGIT)


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
