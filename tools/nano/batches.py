"""Turn generated examples into batches of token ids and loss weights, without wasting padding."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from .tasks import Example, TaskMaker
from .tokenizer import END_ID, PAD_ID, SPECIAL, VOCABULARY

TOKENS_PER_STEP = 2048
LONGEST = 320
POOL_ROW = 160
DRAWN_AT_ONCE = 512
PROMPT_WEIGHT = 0.25
SYSTEM_SHARE, TWO_TURN_SHARE = 0.12, 0.1

# How often each kind is drawn at the start and at the end of the run; copying comes first, because the
# other tasks build on it. `pool` is not text: it is rows of repeated random tokens.
MIX = {
    "pool": (1.00, 0.00),
    "repeat": (0.45, 0.10),
    "extract": (0.30, 0.20),
    "form": (0.10, 0.14),
    "lookup": (0.12, 0.08),
    "tool": (0.05, 0.04),
    "gloss": (0.04, 0.04),
    "field": (0.04, 0.06),
    "page": (0.08, 0.55),
    "heading": (0.04, 0.20),
    "choose": (0.04, 0.12),
    "gap": (0.03, 0.12),
    "prose": (0.04, 0.15),
}


@dataclass(frozen=True)
class Sequence:
    """Token ids and, for every one of them, how much its prediction counts in the loss."""

    ids: list[int]
    weights: list[float]


@dataclass(frozen=True)
class Batch:
    """Sequences of similar length, padded on the right."""

    ids: Tensor
    weights: Tensor


class Encoder:
    """Write conversations as tokens, exactly as the chat template does."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Keep the tokenizer and the fixed pieces of the template."""
        self._tokenizer = tokenizer
        self._break = self._ids("\n")
        self._heads = {role: self._ids(f"{SPECIAL[1]}{role}\n") for role in ("system", "user", "assistant")}

    def conversation(self, examples: list[Example], system: str = "") -> Sequence:
        """Encode questions and answers as one conversation; only answers count fully in the loss."""
        ids: list[int] = []
        weights: list[float] = []
        turns = [("system", system, 0.0)] if system else []
        for example in examples:
            turns.append(("user", example.prompt, PROMPT_WEIGHT if example.learn_prompt else 0.0))
            turns.append(("assistant", example.answer, 1.0))
        for role, text, weight in turns:
            head, body = self._heads[role], [*self._ids(text), END_ID]
            ids += [*head, *body, *self._break]
            weights += [0.0] * len(head) + [weight] * len(body) + [0.0] * len(self._break)
        return Sequence(ids[:LONGEST], weights[:LONGEST])

    def _ids(self, text: str) -> list[int]:
        """Tokenise a piece of text."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids


class Mixer:
    """Draw batches from the changing mix of tasks; the same seed draws the same batches."""

    def __init__(self, maker: TaskMaker, encoder: Encoder, seed: int) -> None:
        """Keep the parts and a random generator of its own."""
        self._maker = maker
        self._encoder = encoder
        self._random = random.Random(seed)

    def batches(self, progress: float) -> list[Batch]:
        """Draw one round of batches for a stage of the run between 0 and 1, in random order."""
        names = list(MIX)
        shares = [_share(name, progress) for name in names]
        kinds = self._random.choices(names, shares, k=DRAWN_AT_ONCE)
        rows = sorted((self._sequence(kind, progress) for kind in kinds), key=lambda row: len(row.ids))
        batches = [pad(group) for group in _group(rows)]
        self._random.shuffle(batches)
        return batches

    def _sequence(self, kind: str, progress: float) -> Sequence:
        """Draw one sequence of a kind."""
        if kind == "pool":
            return self._pool_row(progress)
        draw = self._random
        examples = [self._maker.draw(kind)]
        if draw.random() < TWO_TURN_SHARE:
            examples.append(self._maker.draw(kind))
        return self._encoder.conversation(examples, self._system() if draw.random() < SYSTEM_SHARE else "")

    def _system(self) -> str:
        """Draw a system message; its wording never decides the answer."""
        return self._random.choice(("You are a helpful assistant.", "Answer briefly.", "Be exact.", "Help the user."))

    def _pool_row(self, progress: float) -> Sequence:
        """Repeat a random segment, with or without other tokens between; all but its first copy counts."""
        draw = self._random
        easy = draw.random() < 0.75 - 0.6 * min(1.0, 2 * progress)
        pool = [draw.randrange(len(SPECIAL), VOCABULARY) for _ in range(draw.randrange(4, 13))]
        segment = self._segment(pool, easy)
        ids: list[int] = list(segment)
        weights = [0.0] * len(ids)
        while len(ids) < POOL_ROW:
            between = 0 if easy else draw.randrange(4)
            noise = [draw.randrange(len(SPECIAL), VOCABULARY) for _ in range(between)]
            ids += noise + segment
            weights += [0.0] * (between + 1) + [1.0] * (len(segment) - 1)
        return Sequence(ids[:POOL_ROW], weights[:POOL_ROW])

    def _segment(self, pool: list[int], easy: bool) -> list[int]:
        """Draw what is repeated: a few tokens of a small pool at first, any tokens later."""
        draw = self._random
        if easy:
            return [draw.choice(pool) for _ in range(draw.randrange(3, 12))]
        return [draw.randrange(len(SPECIAL), VOCABULARY) for _ in range(draw.randrange(4, 24))]


def pad(rows: list[Sequence]) -> Batch:
    """Pad sequences to the longest; padding needs no mask, since nothing real comes after it."""
    width = max(len(row.ids) for row in rows)
    ids = [row.ids + [PAD_ID] * (width - len(row.ids)) for row in rows]
    weights = [row.weights + [0.0] * (width - len(row.weights)) for row in rows]
    return Batch(torch.tensor(ids), torch.tensor(weights))


def _share(name: str, progress: float) -> float:
    """Interpolate a kind's share; the random rows are gone after 60 % of the run."""
    first, last = MIX[name]
    along = min(1.0, progress / 0.6)
    return first + (last - first) * along


def _group(rows: list[Sequence]) -> Iterator[list[Sequence]]:
    """Cut sorted sequences into groups of about the same number of padded tokens."""
    group: list[Sequence] = []
    for row in rows:
        if group and (len(group) + 1) * len(row.ids) > TOKENS_PER_STEP:
            yield group
            group = []
        group.append(row)
    yield group
