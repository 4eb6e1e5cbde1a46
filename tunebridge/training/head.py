"""The model's head and the cross-entropy in one: logits live a piece at a time and are never all there.

Only for a head that is frozen, has no bias, and whose scores the model leaves as they are, which is tried and not
assumed; any other goes through the model's own logits.
"""

from contextlib import nullcontext
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tunebridge.training.device import Resources
from tunebridge.training.packing import FlatBatch

PIECE_LOGITS = 2**23
"""Logits that are made at a time."""


class _LinearCrossEntropy(torch.autograd.Function):
    """-log softmax(h W')[target] for each row of h, with the gradient of h made on the way forward."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        losses = torch.empty(len(hidden), device=hidden.device)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        size = max(1, PIECE_LOGITS // len(weight))
        for begin in range(0, len(hidden), size):
            piece = slice(begin, begin + size)
            places = targets[piece, None]
            logs = (hidden[piece] @ weight.t()).float().log_softmax(-1)
            of_targets = logs.gather(1, places)
            losses[piece] = -of_targets[:, 0]
            if gradient is not None:
                shares = logs.exp_().scatter_(1, places, of_targets.expm1())
                torch.mm(shares.to(hidden.dtype), weight, out=gradient[piece])
        ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx: Any, of_losses: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * of_losses[:, None].to(gradient.dtype), None, None


def fuse_head(model: Any, batch: FlatBatch) -> bool:
    """Let a head answer `losses_in_place_of_logits` where that changes nothing on a batch; return whether it does."""
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear or head.bias is not None or head.weight.requires_grad:
        return False
    with torch.no_grad():
        logits = _call(model, batch)
        plain = functional.cross_entropy(logits.float(), batch.targets, reduction="none")
        head.forward, head.targets = MethodType(_forward, head), None
        fused = losses_in_place_of_logits(model, batch)
    if fused is not None and torch.allclose(plain, fused, rtol=2e-2, atol=2e-2):
        return True
    del head.forward, head.targets
    return False


def losses_in_place_of_logits(model: Any, batch: FlatBatch) -> Tensor | None:
    """Return the cross-entropy of each target without the logits, None where the head was not fused."""
    head = model.get_output_embeddings()
    if not hasattr(head, "targets"):
        return None
    head.targets = batch.targets
    try:
        losses = _call(model, batch)
    finally:
        head.targets = None
    return losses if losses.ndim == 1 else None


def token_losses(model: Any, batch: FlatBatch, resources: Resources) -> Tensor:
    """Return the cross-entropy of each trained token; logits are made at their places only."""
    mixed = resources.dtype == "bfloat16"
    with torch.autocast(resources.device, torch.bfloat16) if mixed else nullcontext():
        losses = losses_in_place_of_logits(model, batch)
        if losses is None:
            losses = functional.cross_entropy(_call(model, batch).float(), batch.targets, reduction="none")
    return losses


def _call(model: Any, batch: FlatBatch) -> Tensor:
    scores: Tensor = model(
        input_ids=batch.token_ids,
        position_ids=batch.position_ids,
        use_cache=False,
        logits_to_keep=batch.places,
        layout=batch.layout,
        kept=batch.kept,
    ).logits[0]
    return scores


def _forward(self: Any, hidden: Tensor) -> Tensor:
    """Stand in for the head's own forward pass: losses where targets are laid in, else logits."""
    if self.targets is None:
        return functional.linear(hidden, self.weight)
    losses: Tensor = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden[0].to(self.weight.dtype), self.weight, self.targets
    )
    return losses[None]
