"""Attention over rows that lie one after the other in a flat sequence; rows never see each other.

The linear layers work on the flat sequence without any padding. Only here pieces of similar length are laid side by
side, each with the pieces of its row that lie before it; what pads the shorter ones stands behind their tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tunebridge.training.sharing import Piece

NAME = "tunebridge_flat"
MAX_PADDED_SHARE = 0.4
"""Pieces share a group as long as no more than this share of its attention scores is padding."""
EXPLICIT_MAX_LENGTH = {torch.bfloat16: 1024, torch.float32: 160}
"""Up to here plain matrix products are faster than the fused kernel on a CPU (docs/explanation/trainer.md)."""


@dataclass(frozen=True)
class Group:
    """Pieces that are attended to side by side."""

    queries: Tensor
    """(pieces, length): place in the flat sequence of each token; padding repeats the piece's last place."""
    keys: Tensor
    """(pieces, keys): places of the tokens that can be seen, from the row's beginning."""
    offsets: Tensor
    """Tokens of the row before each piece."""
    flat: Tensor
    """Places in the flat sequence, and `found` where each stands in the group."""
    found: Tensor
    is_causal: bool
    """Whether no piece has anything before it, so that a plain causal mask serves."""
    _hidden: dict[Any, Tensor] = field(default_factory=dict, compare=False)

    def bias(self, dtype: torch.dtype, window: int | None) -> Tensor:
        """Return what is added to the scores: minus infinity where a query may not look; (pieces or 1, 1, q, k)."""
        key = (dtype, window)
        if key not in self._hidden:  # made once for all layers
            device = self.queries.device
            offsets = self.offsets[:1] if self.is_causal else self.offsets
            places = torch.arange(self.keys.shape[1], device=device)
            last = offsets[:, None, None] + torch.arange(self.queries.shape[1], device=device)[:, None]
            last = last.clamp_max(places[-1])  # a padding query must see something too, or its gradient is no number
            hidden = places > last
            if window is not None:
                hidden |= places <= last - window
            bias = torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill(hidden, float("-inf"))
            self._hidden[key] = bias[:, None]
        return self._hidden[key]


@dataclass(frozen=True)
class Layout:
    """How the pieces of one flat sequence are laid out for attention."""

    groups: tuple[Group, ...]
    order: Tensor
    """For each place of the flat sequence, where its token stands in the groups' tokens joined together."""


def layout(pieces: Sequence[Piece], device: torch.device) -> Layout:
    """Group pieces of similar length; together they are the flat sequence."""
    groups = [_group(similar, device) for similar in _similar(pieces)]
    joined = torch.cat([group.flat for group in groups])
    order = torch.empty_like(joined)
    order[joined] = torch.arange(len(joined), device=device)
    return Layout(tuple(groups), order)


def _similar(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Yield pieces of similar length and similar length before them."""
    waiting: list[Piece] = []
    scores = longest = widest = 0
    for piece in sorted(pieces, key=lambda piece: (piece.offset > 0, piece.offset + piece.length, piece.length)):
        width = piece.offset + piece.length
        padded = (len(waiting) + 1) * max(longest, piece.length) * max(widest, width)
        fits = padded - scores - piece.length * width <= MAX_PADDED_SHARE * padded
        if waiting and not (fits and (waiting[0].offset > 0) == (piece.offset > 0)):
            yield waiting
            waiting, scores, longest, widest = [], 0, 0, 0
        waiting.append(piece)
        scores, longest, widest = scores + piece.length * width, max(longest, piece.length), max(widest, width)
    if waiting:
        yield waiting


def _group(pieces: Sequence[Piece], device: torch.device) -> Group:
    lengths = torch.tensor([piece.length for piece in pieces], device=device)[:, None]
    starts = torch.tensor([piece.start for piece in pieces], device=device)[:, None]
    steps = torch.arange(int(lengths.max()), device=device)
    queries = starts + torch.minimum(steps, lengths - 1)
    real = (steps < lengths).flatten()
    found = real.nonzero().flatten()
    is_causal = not any(piece.before for piece in pieces)
    return Group(
        queries=queries,
        keys=queries if is_causal else _keys(pieces, device),
        offsets=torch.tensor([piece.offset for piece in pieces], device=device),
        flat=queries.flatten()[found],
        found=found,
        is_causal=is_causal,
    )


def _keys(pieces: Sequence[Piece], device: torch.device) -> Tensor:
    paths = [
        [place for part in (*piece.before, piece) for place in range(part.start, part.start + part.length)]
        for piece in pieces
    ]
    widest = max(len(path) for path in paths)
    return torch.tensor([path + path[-1:] * (widest - len(path)) for path in paths], device=device)


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
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    answers = [_attend(group, q, k, v, (scale, dropout, window)) for group in rows.groups]
    return torch.cat(answers).index_select(0, rows.order)[None], None


def _attend(
    group: Group, query: Tensor, key: Tensor, value: Tensor, settings: tuple[float, float, int | None]
) -> Tensor:
    """Return the answers of one group's real tokens; (tokens, heads, size) in and out."""
    scale, dropout, window = settings
    q, k, v = _gather(query, group.queries), _gather(key, group.keys), _gather(value, group.keys)
    if query.device.type == "cpu" and group.keys.shape[1] <= EXPLICIT_MAX_LENGTH[q.dtype] and not dropout:
        answer = _explicit(q, k, v, group.bias(q.dtype, window), scale)
    else:
        plain = group.is_causal and (window is None or group.keys.shape[1] <= window)
        answer = functional.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=None if plain else group.bias(q.dtype, window),
            is_causal=plain,
            dropout_p=dropout,
            scale=scale,
            enable_gqa=q.shape[1] != k.shape[1],
        )
    return answer.transpose(1, 2).flatten(0, 1).index_select(0, group.found)


def _gather(states: Tensor, places: Tensor) -> Tensor:
    """Lay the tokens of a group side by side: (tokens, heads, size) -> (pieces, heads, length, size)."""
    return states.index_select(0, places.flatten()).view(*places.shape, *states.shape[1:]).transpose(1, 2)


def _explicit(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float) -> Tensor:
    """Softmax attention by plain matrix products; heads that share keys are laid behind each other."""
    pieces, heads, length, size = query.shape
    shared = key.shape[1]
    repeats = heads // shared
    q = query.reshape(pieces * shared, repeats * length, size)
    k, v = (states.reshape(pieces * shared, -1, size) for states in (key, value))
    mask = bias.repeat(1, 1, repeats, 1).expand(-1, shared if len(bias) > 1 else 1, -1, -1).flatten(0, 1)
    weights = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=scale).softmax(-1)
    return (weights @ v).view(pieces, heads, length, size)


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
