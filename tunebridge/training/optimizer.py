"""The optimizer: AdamW with transformers' defaults, its averages in 32 or, on request, in 8 bits."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from tunebridge.errors import MissingDependency
from tunebridge.training.checkpoints import trainable
from tunebridge.training.config import RunConfig

BYTES_PER_TRAINED_WEIGHT = {"adamw": 12, "adamw_8bit": 6}
"""A gradient and the two averages."""


def adamw(model: nn.Module, run: RunConfig) -> torch.optim.Optimizer:
    """Return AdamW over the weights that are trained; biases and norms do not decay.

    MissingDependency where 8 bits are asked for and bitsandbytes is not installed.
    """
    named = trainable(model)
    decaying = [parameter for parameter in named.values() if parameter.ndim > 1]
    others = [parameter for parameter in named.values() if parameter.ndim <= 1]
    groups = [{"params": decaying, "weight_decay": run.weight_decay}, {"params": others, "weight_decay": 0.0}]
    filled = [group for group in groups if group["params"]]
    if run.optimizer == "adamw_8bit":
        return _in_8_bits(filled, run)
    return torch.optim.AdamW(filled, lr=run.learning_rate, fused=True)


def _in_8_bits(groups: list[dict[str, Any]], run: RunConfig) -> torch.optim.Optimizer:
    if find_spec("bitsandbytes") is None:
        raise MissingDependency("bitsandbytes", backend="local", extra="qlora")
    make: Any = import_module("bitsandbytes.optim")
    optimizer: torch.optim.Optimizer = make.AdamW8bit(groups, lr=run.learning_rate)
    return optimizer
