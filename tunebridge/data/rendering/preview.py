"""What the model will see of a row, and what is odd about it: pure functions over rendered rows and their tokenizer.

| code | what |
|---|---|
| T000 | the row cannot be rendered |
| T001 | an answer's end token is not trained |
| T002 | the chat template has no generation marks |
| T003 | no token of the row is trained |
| T004 | the row begins with the beginning token twice |
| T005 | an empty thinking block is trained |
| T006 | an answer is cut at `max_length` |
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from tunebridge.data.problems import Problem
from tunebridge.data.rendering.render import RenderedRow, has_generation_marks, trained_spans
from tunebridge.spec import SpecModel

EMPTY_THOUGHT = re.compile(r"<think>\s*</think>|<\|channel>thought\s*<channel\|>|\[THINK\]\s*\[/THINK\]")
"""Empty reasoning of Qwen and most others, of Gemma 4 and of Mistral, as their templates write it."""
MOST_LINES_NAMED = 5

Answer = Literal["preferred", "rejected"]


class Span(SpecModel):
    """Tokens of a row that stand together and have the same fate."""

    text: str
    tokens: int
    is_trained: bool
    is_cut: bool = False
    """Whether they lie behind `max_length`."""


class RowPreview(SpecModel):
    """One row as the model sees it."""

    line: int
    """Line of the file that it came from."""
    answer: Answer | None = None
    """Which answer of a preference it has."""
    tokens: int
    trained_tokens: int
    """Tokens that count in the loss, without those that are cut."""
    cut_tokens: int
    spans: tuple[Span, ...]
    """The whole row; their texts in a row are its text."""
    token_ids: tuple[int, ...]
    is_trained: tuple[bool, ...]
    """For each token; without regard to `max_length`."""


class Preview(SpecModel):
    """The first rows of a file as the model sees them, and what is odd about these and the rows behind them."""

    model: str
    max_length: int
    checked_rows: int
    """Rows that were rendered and checked; the first of them are in `rows`."""
    rows: tuple[RowPreview, ...]
    problems: tuple[Problem, ...]


def preview_row(
    row: RenderedRow,
    tokenizer: Any,
    *,
    line: int,
    max_length: int,
    answer: Answer | None = None,
) -> RowPreview:
    """Return a row as people read it; a row longer than `max_length` tokens is cut there."""
    kept = row.cut(max_length)
    return RowPreview(
        line=line,
        answer=answer,
        tokens=len(row.token_ids),
        trained_tokens=kept.trained_tokens,
        cut_tokens=len(row.token_ids) - len(kept.token_ids),
        spans=tuple(_spans(row, tokenizer, max_length)),
        token_ids=tuple(row.token_ids),
        is_trained=tuple(row.is_trained),
    )


def check_template(tokenizer: Any) -> Iterator[Problem]:
    """Yield what is odd about the chat template."""
    if tokenizer.chat_template and not has_generation_marks(tokenizer):
        yield _problem(
            "T002",
            "the chat template has no {% generation %} marks, so the answers were found by rendering turn after turn",
            "Look whether the coloured tokens are the answers. Other trainers need a template with the marks.",
        )


def check_rendered(
    row: RenderedRow, tokenizer: Any, *, ends: Iterable[int], max_length: int | None = None
) -> Iterator[Problem]:
    """Yield what is odd about a rendered row; `ends` are the tokens that end an answer (`tokens.end_tokens`)."""
    kept = row if max_length is None else row.cut(max_length)
    trained = {token for token, mark in zip(*row, strict=True) if mark}
    if trained and trained.isdisjoint(ends):
        yield _problem(
            "T001",
            "no answer's end token is trained, so the tuned model may not know when to stop",
            "Put the end token inside the template's generation marks, or set the tokenizer's eos_token to it.",
        )
    if not kept.trained_tokens:
        yield _no_trained_token(row)
    elif row.trained_tokens > kept.trained_tokens:
        yield _problem(
            "T006",
            f"max_length {max_length} cuts {row.trained_tokens - kept.trained_tokens} of {row.trained_tokens} trained "
            "tokens",
            "Raise max_length, shorten the row, or set data.too_long to drop.",
        )
    bos = tokenizer.bos_token_id
    if bos is not None and row.token_ids[:2] == [bos, bos]:
        yield _problem(
            "T004",
            "the row begins with the beginning token twice",
            "Remove the token from the text, or from the template where the tokenizer adds it too.",
        )
    if trained and EMPTY_THOUGHT.search(_trained_text(row, tokenizer)):
        yield _problem(
            "T005",
            "an empty thinking block is trained, so the tuned model learns not to think",
            "Add `reasoning` to the answers, or choose a template that leaves the block out; keep it if it is meant.",
        )


def at(problem: Problem, file: str, line: int) -> Problem:
    """Return a problem with its place."""
    return problem.model_copy(update={"file": file, "line": line})


def group(problems: Sequence[Problem]) -> list[Problem]:
    """Return one problem for each code: the first, with how many rows have it and the first of their lines."""
    grouped = []
    for code in dict.fromkeys(problem.code for problem in problems):
        same = [problem for problem in problems if problem.code == code]
        lines = [str(problem.line) for problem in same[:MOST_LINES_NAMED]]
        more = ", ..." if len(same) > MOST_LINES_NAMED else ""
        rows = f" ({len(same):,} rows: lines {', '.join(lines)}{more})" if len(same) > 1 else ""
        grouped.append(same[0].model_copy(update={"message": same[0].message + rows}))
    return grouped


def visible(text: str) -> str:
    """Return text in which everything that is not seen, or that commands a terminal, stands as an escape."""
    return "".join(c if c == "\n" or (c.isprintable() and c not in BLANKS) else escape(c) for c in text)


BLANKS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
"""Letters and symbols that Unicode calls printable and that show nothing."""


def escape(character: str) -> str:
    r"""Return a character as Python would write it in a string, such as `\u202e`."""
    return character.encode("unicode_escape").decode()


def _no_trained_token(row: RenderedRow) -> Problem:
    if row.trained_tokens:
        message, fix = "no trained token is left before max_length", "Raise max_length, or remove the row."
    else:
        message, fix = "no token of the row is trained", "Give the row an answer whose weight is not 0, or remove it."
    return _problem("T003", message, fix)


def _spans(row: RenderedRow, tokenizer: Any, max_length: int) -> Iterator[Span]:
    """Yield the row in pieces; each is what decoding a little more adds, as some tokens are no text alone."""
    edges = {place for span in trained_spans(row.is_trained) for place in span}
    start, before = 0, ""
    for end in sorted({*edges, min(max_length, len(row.token_ids)), len(row.token_ids)} - {0}):
        whole = _decode(row.token_ids[:end], tokenizer)
        added = whole[len(before) :] if whole.startswith(before) else _decode(row.token_ids[start:end], tokenizer)
        yield Span(text=added, tokens=end - start, is_trained=row.is_trained[start], is_cut=start >= max_length)
        start, before = end, whole


def _trained_text(row: RenderedRow, tokenizer: Any) -> str:
    return _decode([token for token, mark in zip(*row, strict=True) if mark], tokenizer)


def _decode(token_ids: Sequence[int], tokenizer: Any) -> str:
    return str(tokenizer.decode(token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _problem(code: str, message: str, fix: str) -> Problem:
    return Problem(code=code, severity="warning", message=message, fix=fix)
