"""A look, before training, whether a model can work on flat sequences at all.

Models that mix tokens in other ways than through transformers' attention interface (recurrent layers, convolutions,
attention sinks) would let rows see each other. They are found by trying, not by a list of names.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tunebridge.data.rendering.render import RenderedRow
from tunebridge.errors import SpecError
from tunebridge.training import attention
from tunebridge.training.packing import flatten
from tunebridge.training.rows import Unit

LOOKED_AT_TOKENS, SHARED_TOKENS = 24, 18
"""Tokens of each row, and how many of them a third row shares with the first."""
TOLERANCE = {torch.float32: 2e-3, torch.bfloat16: 5e-2}
"""Largest difference of the scores, as a share of their size."""


def check_rows_stay_apart(model: Any, rows: Sequence[RenderedRow]) -> None:
    """Compare rows in one flat sequence with each alone and the model's own attention; SpecError if they differ."""
    looked_at = _rows(rows)
    training, before = model.training, model.config._attn_implementation
    model.eval()
    with torch.inference_mode():
        alone = torch.cat([_scores(model, row) for row in looked_at])
        try:
            attention.use(model)
            together = _flat_scores(model, looked_at)
        except (TypeError, ValueError, NotImplementedError, KeyError) as error:
            raise _unfit(model, str(error).split("\n")[0]) from error
        finally:
            model.set_attn_implementation(before)
    model.train(training)
    difference = float((together - alone).norm() / alone.norm())
    if not difference <= TOLERANCE.get(alone.dtype, TOLERANCE[torch.bfloat16]):
        raise _unfit(model, f"rows in one sequence change each other's scores by {difference:.1%}")


def _rows(rows: Sequence[RenderedRow]) -> list[RenderedRow]:
    """Return the beginnings of two rows, and a third that begins as the first and ends as the second."""
    first, second = (row.token_ids[:LOOKED_AT_TOKENS] for row in [*rows[:2], *rows[:1]][:2])
    third = first[:SHARED_TOKENS] + second[::-1][: LOOKED_AT_TOKENS - SHARED_TOKENS]
    return [RenderedRow(ids, [True] * len(ids)) for ids in (first, second, third)]


def _scores(model: Any, row: RenderedRow) -> Tensor:
    """Return the scores at each token but the last, (tokens - 1, vocabulary)."""
    scores: Tensor = model(input_ids=torch.tensor([row.token_ids], device=model.device), use_cache=False).logits[0, :-1]
    return scores


def _flat_scores(model: Any, rows: Sequence[RenderedRow]) -> Tensor:
    batch = flatten([Unit((row,)) for row in rows], model.device)
    scores: Tensor = model(
        input_ids=batch.token_ids, position_ids=batch.position_ids, use_cache=False, layout=batch.layout
    ).logits[0]
    return scores[batch.places]


def _unfit(model: Any, why: str) -> SpecError:
    return SpecError(
        f"{type(model).__name__} cannot be trained here: {why}. Choose a model whose layers are attention layers, "
        f"such as Llama, Qwen3, Gemma or SmolLM.",
        key="base_model",
    )
