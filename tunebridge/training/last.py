"""The last layer for the tokens that count only: what it makes of the others, nobody looks at.

Keys and values are needed of every token; the query, what is made of the answer, and the layer's own network only where
a trained token is predicted. The others get zeros, which are never read. Whether a model is built so is tried.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tunebridge.training.device import Resources
from tunebridge.training.head import token_losses
from tunebridge.training.packing import FlatBatch

PARTS = ("self_attn.q_proj", "self_attn.o_proj", "mlp")
"""Parts of a layer that look at each token alone, as most models name them."""
TOLERANCE = 2e-2


class _Kept:
    """The places that count in the newest pass, whose activations may be computed again until there is another."""

    places: Tensor | None = None

    def note(self, model: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        """Note the places of a pass: a hook before the model."""
        self.places = kwargs.get("kept")


def trim_last_layer(model: Any, batch: FlatBatch, resources: Resources) -> bool:
    """Let the last layer leave out tokens that do not count, where no loss changes by that; return whether it does."""
    layer = _last_layer(model)
    if layer is None:
        return False
    parts = [part for name, part in layer.named_modules() if name in PARTS]
    kept, before = _Kept(), [part.forward for part in parts]
    with torch.no_grad():
        expected = token_losses(model, batch, resources)
        hook = model.register_forward_pre_hook(kept.note, with_kwargs=True)
        for part in parts:
            part.forward = _only_where_it_counts(part.forward, kept)
        found = _attempt(model, batch, resources)
    if found is not None and torch.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
        return True
    hook.remove()
    for part, forward in zip(parts, before, strict=True):
        part.forward = forward
    return False


def _attempt(model: Any, batch: FlatBatch, resources: Resources) -> Tensor | None:
    try:
        return token_losses(model, batch, resources)
    except (AttributeError, IndexError, RuntimeError, TypeError):  # a part that gives or takes something else
        return None


def _last_layer(model: Any) -> nn.Module | None:
    count = model.config.get_text_config().num_hidden_layers
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == count]
    return lists[0][-1] if len(lists) == 1 else None


def _only_where_it_counts(forward: Callable[..., Tensor], kept: _Kept) -> Callable[..., Tensor]:
    def trimmed(states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Compute the places that count, of (1, tokens, size), and put zeros at the others."""
        if kept.places is None:
            return forward(states, *args, **kwargs)
        made = forward(states.index_select(1, kept.places), *args, **kwargs)
        return made.new_zeros(1, states.shape[1], made.shape[2]).index_copy(1, kept.places, made)

    return trimmed
