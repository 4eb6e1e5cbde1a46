"""From a split's canonical rows to what the model sees of them: one rendered row, or the two of a preference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tunebridge.data.dataset import Split
from tunebridge.data.example import Example
from tunebridge.data.rendering.render import RenderedRow, render
from tunebridge.errors import DataError
from tunebridge.training.config import TRAIN_FILE, RunConfig

MAX_LINES_NAMED = 5


class Unit(NamedTuple):
    """What is learnt from as a whole: an answer, or the preferred and the rejected one."""

    rows: tuple[RenderedRow, ...]
    reference: tuple[float, ...] = ()
    """Log-probability of each row's trained tokens under the base model, where it was computed beforehand."""

    @property
    def tokens(self) -> int:
        """Tokens of all its rows."""
        return sum(len(row.token_ids) for row in self.rows)

    @property
    def trained_tokens(self) -> int:
        """Tokens of all its rows that count in the loss."""
        return sum(row.trained_tokens for row in self.rows)


@dataclass(frozen=True)
class RenderedSplit:
    """A split as the model sees it, and what became of rows that were too long."""

    units: tuple[Unit, ...]
    lines: tuple[int, ...]
    """Line of each unit in its file, counted from 1."""
    dropped: int = 0
    truncated: int = 0

    @property
    def longest_row(self) -> int:
        """Tokens of the longest row."""
        return max(len(row.token_ids) for unit in self.units for row in unit.rows)


def renderer(method: str) -> Callable[[Example, Any], tuple[RenderedRow, ...]]:
    """Return the function from (canonical row, tokenizer) to what a method learns from."""
    return render_preference if method == "dpo" else lambda example, tokenizer: (render(example, tokenizer),)


def render_preference(example: Example, tokenizer: Any) -> tuple[RenderedRow, ...]:
    """Return the conversation with the preferred answer, then with the rejected one; only these answers are trained."""
    if example.preferred is None or example.rejected is None:
        raise DataError(f"a {example.kind} row has no `preferred` and `rejected` answers. Choose the method sft.")
    context = tuple(
        turn.model_copy(update={"weight": 0}) if turn.role == "assistant" else turn for turn in example.messages or ()
    )
    answers = (example.preferred, example.rejected)
    return tuple(render(Example(messages=(*context, *turns), tools=example.tools), tokenizer) for turns in answers)


def render_split(split: Split, tokenizer: Any, run: RunConfig, *, file: str = TRAIN_FILE) -> RenderedSplit:
    """Render every row and apply the policy for rows that are too long.

    DataError, with the first such line of `file`, where a row cannot be rendered, is too long, or teaches nothing.
    """
    units: list[tuple[int, Unit]] = []
    too_long: list[int] = []
    rendered = renderer(run.method)
    for line, example in enumerate(split, start=1):
        try:
            rows = rendered(example, tokenizer)
        except DataError as error:
            raise DataError(str(error), file=file, line=line) from error
        if any(len(row.token_ids) > run.max_length for row in rows):
            too_long.append(line)
            if run.too_long == "drop":
                continue
            rows = tuple(row.cut(run.max_length) for row in rows)
        units.append((line, Unit(rows)))
    _check(units, too_long, run, file)
    cut = len(too_long)
    return RenderedSplit(
        units=tuple(unit for _, unit in units),
        lines=tuple(line for line, _ in units),
        dropped=cut if run.too_long == "drop" else 0,
        truncated=cut if run.too_long == "truncate" else 0,
    )


def _check(units: Sequence[tuple[int, Unit]], too_long: Sequence[int], run: RunConfig, file: str) -> None:
    if too_long and run.too_long == "error":
        raise DataError(
            f"{len(too_long)} rows are longer than max_length {run.max_length} ({_name(too_long)}). Raise "
            f"hyperparameters.max_length, or set data.too_long to drop or truncate.",
            file=file,
            line=too_long[0],
        )
    empty = [line for line, unit in units if not all(row.trained_tokens for row in unit.rows)]
    if empty:
        raise DataError(
            f"{len(empty)} rows have no trained token ({_name(empty)}), so nothing is learnt from them. Remove them, "
            f"or raise max_length where their answers were cut off.",
            file=file,
            line=empty[0],
        )
    if not units:
        raise DataError("no row is left. Add rows, or raise hyperparameters.max_length.", file=file)


def _name(lines: Sequence[int]) -> str:
    named = ", ".join(str(line) for line in lines[:MAX_LINES_NAMED])
    return f"rows {named}" + (", ..." if len(lines) > MAX_LINES_NAMED else "")
