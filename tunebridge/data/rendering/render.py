"""Rendering a row through a chat template: its token ids, and which of them are trained.

One function for the trainer, the preview and the checks, so that what is shown is what is trained.
"""

import json
import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

from tunebridge.data.example import Example, Message
from tunebridge.errors import DataError


class RenderedRow(NamedTuple):
    """One row as the model sees it."""

    token_ids: list[int]
    is_trained: list[bool]
    """Whether the prediction of the token at this place counts in the loss."""

    @property
    def trained_tokens(self) -> int:
        """Number of tokens that count in the loss; the first token is never predicted."""
        return sum(self.is_trained[1:])

    def cut(self, max_length: int) -> "RenderedRow":
        """Return the beginning of the row, as it is trained on when it is longer than `max_length` tokens."""
        return RenderedRow(self.token_ids[:max_length], self.is_trained[:max_length])


def render(example: Example, tokenizer: Any) -> RenderedRow:
    """Return the row's tokens and which are trained: the assistant's answers with their end token, or a whole text.

    `tokenizer` is a Hugging Face tokenizer. Turns with `weight: 0` are not trained. DataError when the template's
    answers cannot be told from the rest, or when the row has no conversation or text.
    """
    if example.text is not None:
        return _render_text(example.text, tokenizer)
    if example.kind not in ("sft", "prompt_only") or not example.messages:
        raise DataError(f"a {example.kind} row cannot be used for supervised fine-tuning. Choose another method.")
    odd = next((m.weight for m in example.messages if m.weight not in (None, 0, 1)), None)
    if odd is not None:
        raise DataError(f"a turn has the weight {odd:g}, but a turn is either trained or not. Use the weights 0 and 1.")
    if not tokenizer.chat_template:
        raise DataError("the model's tokenizer has no chat template. Choose an instruction-tuned model, or text rows.")
    marked = _render_marked(example, tokenizer) if has_generation_marks(tokenizer) else None
    return marked or _render_by_prefix(example, tokenizer)


def has_generation_marks(tokenizer: Any) -> bool:
    """Whether the chat template says itself what the model writes, with `{% generation %}`."""
    return re.search(r"\{%-?\s*generation\b", tokenizer.get_chat_template()) is not None


def end_tokens(tokenizer: Any) -> set[int]:
    """Return the tokens that end an answer: the tokenizer's own, and what the chat template writes behind one."""
    ends = {tokenizer.eos_token_id} - {None}
    if not tokenizer.chat_template:
        return ends
    turns = (Message(role="user", content="a"), Message(role="assistant", content="b"))
    try:
        row = render(Example(messages=turns), tokenizer)
    except DataError:
        return ends
    special = _special_tokens(tokenizer)
    answer = row.token_ids[row.is_trained.index(True) :] if any(row.is_trained) else []
    return ends | set([token for token in answer if token in special][:1])


def trained_spans(is_trained: Sequence[bool]) -> list[tuple[int, int]]:
    """Return where runs of trained tokens begin and end."""
    spans, end = [], 0
    for mark, run in groupby(is_trained):
        start, end = end, end + sum(1 for _ in run)
        spans += [(start, end)] if mark else []
    return spans


def chat_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return messages as chat templates expect them: plain dicts, tool arguments as objects."""
    return [_chat_message(message) for message in messages]


def _render_text(text: str, tokenizer: Any) -> RenderedRow:
    if tokenizer.eos_token_id is None:
        raise DataError("the model's tokenizer has no end token to close a text with. Choose another model.")
    ids = list(tokenizer(text)["input_ids"])
    if ids[-1:] != [tokenizer.eos_token_id]:  # some tokenizers add it themselves
        ids.append(tokenizer.eos_token_id)
    return RenderedRow(ids, [True] * len(ids))


def _render_marked(example: Example, tokenizer: Any) -> RenderedRow | None:
    """Take the answers from the template's own generation marks; None where they do not match the turns."""
    messages = example.messages or ()
    out = _apply_template(example, len(messages), tokenizer, return_assistant_tokens_mask=True)
    ids, mask = list(out["input_ids"]), [bool(mark) for mark in out["assistant_masks"]]
    answers = [message for message in messages if message.role == "assistant"]
    spans = trained_spans(mask)
    if len(spans) != len(answers):
        return None
    for (start, end), answer in zip(spans, answers, strict=True):
        if answer.weight == 0:
            mask[start:end] = [False] * (end - start)
    return RenderedRow(ids, mask)


def _render_by_prefix(example: Example, tokenizer: Any) -> RenderedRow:
    """Find each answer as what rendering one turn more adds; refuse templates that rewrite earlier turns."""
    messages = example.messages or ()
    whole = _tokens(example, len(messages), tokenizer, prompt=False)
    trained = [False] * len(whole)
    specials = _special_tokens(tokenizer) | {tokenizer.eos_token_id}
    for number, message in enumerate(messages):
        if message.role != "assistant" or message.weight == 0:
            continue
        before = _tokens(example, number, tokenizer, prompt=True)
        after = _tokens(example, number + 1, tokenizer, prompt=False)
        kept = _common_prefix(whole, after)
        # A template may close the whole conversation with a special token; anything else that goes was the answer's.
        if whole[: len(before)] != before or not specials.issuperset(after[kept:]):
            raise DataError(
                "the model's chat template changes earlier turns, so the answers cannot be told from the rest. "
                "Give the tokenizer a template with {% generation %} marks, or rows with one answer each."
            )
        end = _after_end_token(after[:kept], len(before), specials)
        trained[len(before) : end] = [True] * (end - len(before))
    return RenderedRow(whole, trained)


def _tokens(example: Example, turns: int, tokenizer: Any, *, prompt: bool) -> list[int]:
    if turns == 0:
        return []
    return list(_apply_template(example, turns, tokenizer, add_generation_prompt=prompt)["input_ids"])


def _apply_template(example: Example, turns: int, tokenizer: Any, **options: bool) -> Any:
    """Render the first turns; whatever the template says against them becomes a DataError."""
    from jinja2 import TemplateError

    messages = chat_messages((example.messages or ())[:turns])
    tools = list(example.tools or ()) or None
    try:
        return tokenizer.apply_chat_template(messages, tools=tools, tokenize=True, return_dict=True, **options)
    except (TemplateError, TypeError) as error:
        raise DataError(
            f"the model's chat template refuses this row: {error}. Change the row, or choose another model."
        ) from error


def _after_end_token(ids: list[int], start: int, ends: set[int]) -> int:
    """Return the place after the answer's end token: a template's line break behind it is not trained."""
    return next((place + 1 for place in range(len(ids) - 1, start - 1, -1) if ids[place] in ends), len(ids))


def _common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _special_tokens(tokenizer: Any) -> set[int]:
    """Return the tokens that no text is turned into, whether or not they have a role such as eos."""
    return {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}


def _chat_message(message: Message) -> dict[str, Any]:
    plain = message.model_dump(mode="json", exclude_none=True, exclude={"weight"})
    plain.setdefault("content", "")
    for call in plain.get("tool_calls", ()):
        call["function"]["arguments"] = _arguments(call["function"])
    return plain


def _arguments(call: dict[str, Any]) -> Any:
    try:
        return json.loads(call["arguments"])
    except ValueError as error:
        raise DataError(
            f"the arguments of the call of {call['name']!r} are no JSON: {error}. Correct the row."
        ) from None
