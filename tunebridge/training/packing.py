"""From units to the flat sequences that one optimizer step computes; no token of padding is among them."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from tunebridge.data.rendering.render import RenderedRow
from tunebridge.training.attention import Layout, layout
from tunebridge.training.rows import Unit
from tunebridge.training.sharing import Shared, apart, share

MIN_SHARED_PART = 0.05
"""Beginnings are shared when that saves at least this part of the tokens."""


@dataclass(frozen=True)
class FlatBatch:
    """Rows one after the other; beginnings that they have in common may lie there once."""

    token_ids: Tensor
    """(1, tokens)."""
    position_ids: Tensor
    """(1, tokens), counted from the beginning of the row."""
    places: Tensor
    """Places whose next token is trained; one that several rows share is there for each of them."""
    targets: Tensor
    """The trained tokens, one for each of `places`."""
    owners: Tensor
    """Number of the row in this batch, for each of `places`."""
    layout: Layout
    reference: Tensor | None = None
    """Log-probability of each row under the base model, where it was computed beforehand."""

    @property
    def tokens(self) -> int:
        """Number of tokens that are computed; none is padding."""
        return self.token_ids.shape[1]


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


def passes(lengths: Sequence[int], *, max_tokens: int) -> Iterator[list[int]]:
    """Yield the numbers of units that are computed together: at most `max_tokens`, similar lengths.

    A unit that is longer stands alone.
    """
    waiting: list[int] = []
    tokens = 0
    for number in sorted(range(len(lengths)), key=lambda number: lengths[number]):
        if waiting and tokens + lengths[number] > max_tokens:
            yield waiting
            waiting, tokens = [], 0
        waiting.append(number)
        tokens += lengths[number]
    if waiting:
        yield waiting


def flat_batches(units: Sequence[Unit], *, max_tokens: int, device: torch.device) -> Iterator[FlatBatch]:
    """Yield the units as flat sequences of at most `max_tokens`."""
    for numbers in passes([unit.tokens for unit in units], max_tokens=max_tokens):
        yield flatten([units[number] for number in numbers], device)


def flatten(units: Sequence[Unit], device: torch.device) -> FlatBatch:
    """Lay the rows of units one after the other, common beginnings once where that pays."""
    rows = [row for unit in units for row in unit.rows]
    shared = _lay([row.token_ids for row in rows])
    total = sum(piece.length for piece in shared.pieces)
    ids, positions = [0] * total, [0] * total
    places: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    for owner, (row, path) in enumerate(zip(rows, shared.paths, strict=True)):
        lies_at = [place for piece in path for place in range(piece.start, piece.start + piece.length)]
        for piece in path:
            begin, end = piece.offset, piece.offset + piece.length
            ids[piece.start : piece.start + piece.length] = row.token_ids[begin:end]
            positions[piece.start : piece.start + piece.length] = range(begin, end)
        trained = _trained(row)
        places += [lies_at[place - 1] for place in trained]  # the place before a token predicts it
        targets += [row.token_ids[place] for place in trained]
        owners += [owner] * len(trained)
    reference = [value for unit in units for value in unit.reference]
    return FlatBatch(
        token_ids=torch.tensor([ids], device=device),
        position_ids=torch.tensor([positions], device=device),
        places=torch.tensor(places, dtype=torch.long, device=device),
        targets=torch.tensor(targets, dtype=torch.long, device=device),
        owners=torch.tensor(owners, dtype=torch.long, device=device),
        layout=layout(shared.pieces, device),
        reference=torch.tensor(reference, device=device) if reference else None,
    )


def _trained(row: RenderedRow) -> list[int]:
    """Return the places of the trained tokens; a row's first token is predicted by nothing."""
    return [place for place, mark in enumerate(row.is_trained) if mark and place]


def _lay(rows: Sequence[list[int]]) -> Shared:
    total = sum(len(ids) for ids in rows)
    shared = share(rows)
    saved = total - sum(piece.length for piece in shared.pieces)
    return shared if saved >= MIN_SHARED_PART * total else apart([len(ids) for ids in rows])
