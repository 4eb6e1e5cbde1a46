"""LoRA layers as one step of autograd: the products of PEFT's layer without its casts, copies and intermediate sums.

A layer is only replaced where it is the plain case: one adapter, no dropout, no DoRA, a linear base layer in full
numbers. Everything else stays PEFT's, and so do the parameters, their names and what is saved.
"""

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn


class _LoraProduct(torch.autograd.Function):
    """x -> x W' + b + scale (x A') B', with the frozen W; A and B may be kept in a finer format than x."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, frozen: tuple[Tensor, Tensor | None], down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        weight, bias = frozen
        rows = x.reshape(-1, x.shape[-1])
        small_down, small_up = down.to(x.dtype), (up * scale).to(x.dtype)
        narrow = rows @ small_down.t()
        wide = rows @ weight.t() if bias is None else torch.addmm(bias, rows, weight.t())
        ctx.save_for_backward(rows, weight, small_down, small_up, narrow)
        ctx.scale, ctx.dtype = scale, down.dtype
        return wide.addmm_(narrow, small_up.t()).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, small_down, small_up, narrow = ctx.saved_tensors
        wide = gradient.reshape(-1, gradient.shape[-1])
        narrow_gradient = wide @ small_up
        of_up = (wide.t() @ narrow).to(ctx.dtype) * ctx.scale
        of_down = (narrow_gradient.t() @ rows).to(ctx.dtype)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (wide @ weight).addmm_(narrow_gradient, small_down).view(*gradient.shape[:-1], -1)
        return of_x, None, of_down, of_up, None


def fuse(model: Any) -> int:
    """Replace the forward pass of each plain LoRA layer and return how many there were."""
    from peft.tuners.lora.layer import Linear

    layers = [module for module in model.modules() if isinstance(module, Linear) and _is_plain(module)]
    for layer in layers:
        layer.forward = MethodType(_forward, layer)  # type: ignore[method-assign]
    return len(layers)


def _is_plain(layer: Any) -> bool:
    names = list(layer.lora_A)
    return (
        type(layer.base_layer) is nn.Linear
        and len(names) == 1
        and names[0] not in layer.lora_variant
        and isinstance(layer.lora_dropout[names[0]], nn.Identity)
        and not layer.lora_bias[names[0]]
    )


def _forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    base = self.base_layer
    if self.disable_adapters or self.merged:
        wide: Tensor = base(x, *args, **kwargs)
        return wide
    (name,) = self.active_adapters
    down, up = self.lora_A[name].weight, self.lora_B[name].weight
    found: Tensor = _LoraProduct.apply(  # type: ignore[no-untyped-call]
        x, (base.weight, base.bias), down, up, self.scaling[name]
    )
    return found
