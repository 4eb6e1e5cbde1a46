"""From rendered rows to the flat sequences that one optimizer step computes; no token of padding is among them."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from tunebridge.data.dataset import Split
from tunebridge.data.example import Example
from tunebridge.data.tokens import RenderedRow, render
from tunebridge.errors import DataError
from tunebridge.training.attention import Layout, layout
from tunebridge.training.config import TRAIN_FILE, RunConfig

MAX_LINES_NAMED = 5


@dataclass(frozen=True)
class FlatBatch:
    """Rows one after the other."""

    token_ids: Tensor
    """(1, tokens)."""
    position_ids: Tensor
    """(1, tokens), from 0 in each row."""
    places: Tensor
    """Places whose next token is trained."""
    targets: Tensor
    """The trained tokens, one for each of `places`."""
    layout: Layout

    @property
    def tokens(self) -> int:
        """Number of tokens; none is padding."""
        return self.token_ids.shape[1]


@dataclass(frozen=True)
class RenderedSplit:
    """A split as the model sees it, and what became of rows that were too long."""

    rows: tuple[RenderedRow, ...]
    lines: tuple[int, ...]
    """Line of each row in its file, counted from 1."""
    dropped: int = 0
    truncated: int = 0


def render_split(split: Split, tokenizer: Any, run: RunConfig, *, file: str = TRAIN_FILE) -> RenderedSplit:
    """Render every row and apply the policy for rows that are too long.

    DataError, with the first such line of `file`, where a row cannot be rendered, is too long, or teaches nothing.
    """
    rows: list[tuple[int, RenderedRow]] = []
    too_long: list[int] = []
    for line, example in enumerate(split, start=1):
        row = _render(example, tokenizer, (file, line))
        if len(row.token_ids) > run.max_length:
            too_long.append(line)
            if run.too_long == "drop":
                continue
            row = row.cut(run.max_length)
        rows.append((line, row))
    if too_long and run.too_long == "error":
        raise DataError(
            f"{len(too_long)} rows are longer than max_length {run.max_length} ({_name(too_long)}). Raise "
            f"hyperparameters.max_length, or set data.too_long to drop or truncate.",
            file=file,
            line=too_long[0],
        )
    empty = [line for line, row in rows if row.trained_tokens == 0]
    if empty:
        raise DataError(
            f"{len(empty)} rows have no trained token ({_name(empty)}), so nothing is learnt from them. Remove them, "
            f"or raise max_length where their answers were cut off.",
            file=file,
            line=empty[0],
        )
    if not rows:
        raise DataError("no row is left. Add rows, or raise hyperparameters.max_length.", file=file)
    cut = len(too_long)
    return RenderedSplit(
        rows=tuple(row for _, row in rows),
        lines=tuple(line for line, _ in rows),
        dropped=cut if run.too_long == "drop" else 0,
        truncated=cut if run.too_long == "truncate" else 0,
    )


def _render(example: Example, tokenizer: Any, place: tuple[str, int]) -> RenderedRow:
    try:
        return render(example, tokenizer)
    except DataError as error:
        raise DataError(str(error), file=place[0], line=place[1]) from error


@lru_cache(maxsize=1)  # every step of an epoch asks for it
def epoch_order(rows: int, *, seed: int, epoch: int) -> tuple[int, ...]:
    """Return the order of the rows in an epoch, a function of seed and epoch alone."""
    order = list(range(rows))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return tuple(order)


def step_rows(step: int, rows: int, *, batch_size: int, seed: int) -> tuple[int, ...]:
    """Return the rows of an optimizer step (from 0); an epoch's last batch may be smaller."""
    batches = -(-rows // batch_size)
    epoch, batch = divmod(step, batches)
    return epoch_order(rows, seed=seed, epoch=epoch)[batch * batch_size : (batch + 1) * batch_size]


def flat_batches(rows: Sequence[RenderedRow], *, max_tokens: int, device: torch.device) -> Iterator[FlatBatch]:
    """Yield the rows as flat sequences of at most `max_tokens`, similar lengths together; a longer row stands alone."""
    waiting: list[RenderedRow] = []
    tokens = 0
    for row in sorted(rows, key=lambda row: len(row.token_ids)):
        if waiting and tokens + len(row.token_ids) > max_tokens:
            yield flatten(waiting, device)
            waiting, tokens = [], 0
        waiting.append(row)
        tokens += len(row.token_ids)
    if waiting:
        yield flatten(waiting, device)


def flatten(rows: Sequence[RenderedRow], device: torch.device) -> FlatBatch:
    """Lay rows one after the other."""
    lengths = [len(row.token_ids) for row in rows]
    ids = torch.tensor([token for row in rows for token in row.token_ids])
    # The place before a trained token predicts it; a row's first token is predicted by nothing.
    predicts = torch.tensor([mark for row in rows for mark in (*row.is_trained[1:], False)])
    places = predicts.nonzero().flatten()
    positions = torch.cat([torch.arange(length) for length in lengths])
    return FlatBatch(
        token_ids=ids[None].to(device),
        position_ids=positions[None].to(device),
        places=places.to(device),
        targets=ids[places + 1].to(device),
        layout=layout(lengths, device),
    )


def _name(lines: Sequence[int]) -> str:
    named = ", ".join(str(line) for line in lines[:MAX_LINES_NAMED])
    return f"rows {named}" + (", ..." if len(lines) > MAX_LINES_NAMED else "")
