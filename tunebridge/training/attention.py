"""Attention over rows that lie one after the other in a flat sequence; rows never see each other.

The linear layers work on the flat sequence without any padding. Only here rows of similar length are laid side by
side; what pads the shorter ones stands behind their tokens, where a causal mask hides it without further masking.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

NAME = "tunebridge_flat"
MAX_PADDED_SHARE = 0.25
"""Rows share a group as long as no more than this share of it is padding."""
EXPLICIT_MAX_LENGTH = 320
"""Up to here plain matrix products are faster than the fused kernel on a CPU (measured: docs/explanation)."""


@dataclass(frozen=True)
class Group:
    """Rows that are attended to side by side."""

    places: Tensor
    """(rows, length): place in the flat sequence of each token; padding repeats the row's last place."""
    flat: Tensor
    """Places in the flat sequence, and `found` where each stands in the group."""
    found: Tensor


@dataclass(frozen=True)
class Layout:
    """How the rows of one flat sequence are laid out for attention."""

    groups: tuple[Group, ...]
    order: Tensor
    """For each place of the flat sequence, where its token stands in the groups' tokens joined together."""


def layout(lengths: Sequence[int], device: torch.device) -> Layout:
    """Group rows of similar length; `lengths` are the rows' tokens in their order in the flat sequence."""
    starts = [sum(lengths[:number]) for number in range(len(lengths))]
    groups = [_group([(starts[i], lengths[i]) for i in rows], device) for rows in _similar(lengths)]
    joined = torch.cat([group.flat for group in groups])
    order = torch.empty_like(joined)
    order[joined] = torch.arange(len(joined), device=device)
    return Layout(tuple(groups), order)


def _similar(lengths: Sequence[int]) -> list[list[int]]:
    by_length = sorted(range(len(lengths)), key=lambda i: lengths[i])
    groups: list[list[int]] = []
    tokens = 0
    for i in by_length:
        padded = (len(groups[-1]) + 1) * lengths[i] if groups else 0
        if groups and padded - tokens - lengths[i] <= MAX_PADDED_SHARE * padded:
            groups[-1].append(i)
            tokens += lengths[i]
        else:
            groups.append([i])
            tokens = lengths[i]
    return groups


def _group(rows: Sequence[tuple[int, int]], device: torch.device) -> Group:
    longest = max(length for _, length in rows)
    steps = torch.arange(longest, device=device)
    starts = torch.tensor([start for start, _ in rows], device=device)[:, None]
    lengths = torch.tensor([length for _, length in rows], device=device)[:, None]
    places = starts + torch.minimum(steps, lengths - 1)
    real = (steps < lengths).flatten()
    found = real.nonzero().flatten()
    return Group(places, places.flatten()[found], found)


def flat_attention(  # noqa: PLR0913  # the signature is transformers'
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend within each row; query (1, heads, tokens, size), the result (1, tokens, heads, size)."""
    rows: Layout = kwargs["layout"]
    window = kwargs.get("sliding_window")
    if kwargs.get("softcap") is not None:
        raise NotImplementedError("this model caps its attention scores, which flat attention does not do")
    answers = [_attend(group, query, key, value, (scaling, dropout, window)) for group in rows.groups]
    return torch.cat(answers, dim=1)[:, rows.order].transpose(0, 1)[None].contiguous(), None


def _attend(
    group: Group, query: Tensor, key: Tensor, value: Tensor, settings: tuple[float | None, float, int | None]
) -> Tensor:
    """Return the answers of one group's real tokens, (heads, tokens, size)."""
    scaling, dropout, window = settings
    q, k, v = (_gather(states, group.places) for states in (query, key, value))
    length = group.places.shape[1]
    plain = query.device.type == "cpu" and length <= EXPLICIT_MAX_LENGTH and not dropout
    if plain or (window is not None and length > window):
        answer = _explicit(q, k, v, scaling, window)
    else:
        answer = functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, dropout_p=dropout, scale=scaling, enable_gqa=q.shape[1] != k.shape[1]
        )
    return answer.transpose(0, 1).flatten(1, 2)[:, group.found]


def _gather(states: Tensor, places: Tensor) -> Tensor:
    """Lay the rows of a group side by side: (1, heads, tokens, size) -> (rows, heads, length, size)."""
    picked = states[0].index_select(1, places.flatten())
    return picked.reshape(picked.shape[0], *places.shape, picked.shape[-1]).transpose(0, 1)


def _explicit(query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None) -> Tensor:
    """Softmax attention by plain matrix products, causal, with an optional sliding window."""
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1:
        key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    length = query.shape[2]
    scores = (query @ key.transpose(-1, -2)) * (scaling if scaling is not None else query.shape[-1] ** -0.5)
    hidden = torch.ones(length, length, dtype=torch.bool, device=query.device).triu(1)
    if window is not None:
        hidden |= torch.ones_like(hidden).tril(-window)
    weights = scores.masked_fill(hidden, float("-inf")).softmax(-1, dtype=torch.float32)
    return weights.to(value.dtype) @ value


def use(model: Any) -> None:
    """Make a transformers model attend over flat sequences; it then needs a `layout` with each call."""
    register()
    model.set_attn_implementation(NAME)


def register() -> None:
    """Make the attention known to transformers under its name; it needs no mask of theirs."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, flat_attention)
    AttentionMaskInterface.register(NAME, lambda *_, **__: None)
