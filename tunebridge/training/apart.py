"""A look, before training, whether a model can work on flat sequences at all.

Models that mix tokens in other ways than through transformers' attention interface (recurrent layers, convolutions,
attention sinks) would let rows see each other. They are found by trying, not by a list of names.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tunebridge.data.tokens import RenderedRow
from tunebridge.errors import SpecError
from tunebridge.training import attention
from tunebridge.training.packing import flatten

LOOKED_AT_TOKENS = 16
"""Tokens of each of two rows."""
TOLERANCE = {torch.float32: 2e-3, torch.bfloat16: 5e-2}
"""Largest difference of the scores, as a share of their size."""


def check_rows_stay_apart(model: Any, rows: Sequence[RenderedRow]) -> None:
    """Compare two rows in one flat sequence with each alone and the model's own attention; SpecError if they differ."""
    two = [*rows[:2], *rows[:1]][:2]
    pair = [RenderedRow(row.token_ids[:LOOKED_AT_TOKENS], row.is_trained[:LOOKED_AT_TOKENS]) for row in two]
    training, before = model.training, model.config._attn_implementation
    model.eval()
    with torch.inference_mode():
        alone = torch.cat([_scores(model, [row]) for row in pair])
        try:
            attention.use(model)
            together = _flat_scores(model, pair)
        except (TypeError, ValueError, NotImplementedError, KeyError) as error:
            raise _unfit(model, str(error).split("\n")[0]) from error
        finally:
            model.set_attn_implementation(before)
    model.train(training)
    difference = float((together - alone).norm() / alone.norm())
    if not difference <= TOLERANCE.get(alone.dtype, TOLERANCE[torch.bfloat16]):
        raise _unfit(model, f"rows in one sequence change each other's scores by {difference:.1%}")


def _scores(model: Any, rows: Sequence[RenderedRow]) -> Tensor:
    ids = torch.tensor([row.token_ids for row in rows], device=model.device)
    scores: Tensor = model(input_ids=ids, use_cache=False).logits[0]
    return scores


def _flat_scores(model: Any, rows: Sequence[RenderedRow]) -> Tensor:
    batch = flatten(rows, model.device)
    scores: Tensor = model(
        input_ids=batch.token_ids, position_ids=batch.position_ids, use_cache=False, layout=batch.layout
    ).logits[0]
    return scores


def _unfit(model: Any, why: str) -> SpecError:
    return SpecError(
        f"{type(model).__name__} cannot be trained here: {why}. Choose a model whose layers are attention layers, "
        f"such as Llama, Qwen3, Gemma or SmolLM.",
        key="base_model",
    )
