"""The optimizer: AdamW with transformers' defaults."""

import torch
from torch import nn

from tunebridge.training.checkpoints import trainable
from tunebridge.training.config import RunConfig


def adamw(model: nn.Module, run: RunConfig) -> torch.optim.Optimizer:
    """Return AdamW over the weights that are trained; biases and norms do not decay."""
    named = trainable(model)
    decaying = [parameter for parameter in named.values() if parameter.ndim > 1]
    others = [parameter for parameter in named.values() if parameter.ndim <= 1]
    groups = [{"params": decaying, "weight_decay": run.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=run.learning_rate, fused=True)
