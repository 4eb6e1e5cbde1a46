"""Which tokens are trained: the answers with their end tokens, whichever way the template tells them."""

from typing import Any

import pytest

from tunebridge.data.example import Example, FunctionCall, Message, ToolCall
from tunebridge.data.rendering.render import RenderedRow, chat_messages, end_tokens, render, trained_spans
from tunebridge.errors import DataError
from tunebridge.testing.case import small_dataset

pytestmark = pytest.mark.torch
PLAIN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def tokenizer() -> Any:
    from tunebridge.training import models

    return models.load_tokenizer("tunebridge/nano")


@pytest.fixture(params=["marked", "by prefix"])
def either(request: pytest.FixtureRequest, tokenizer: Any) -> Any:
    """The same tokenizer, with a template that marks the answers and with one that does not."""
    if request.param == "by prefix":
        tokenizer.chat_template = PLAIN
    return tokenizer


def chat(*turns: tuple[str, str], **last: Any) -> Example:
    messages = [Message.model_validate({"role": role, "content": content}) for role, content in turns]
    messages[-1] = messages[-1].model_copy(update=last)
    return Example(messages=tuple(messages))


def trained(row: RenderedRow, tokenizer: Any) -> str:
    return str(tokenizer.decode([token for token, mark in zip(*row, strict=True) if mark]))


TURNS = (("system", "Be short."), ("user", "one"), ("assistant", "two"), ("user", "three"), ("assistant", "four"))


def test_every_answer_is_trained_with_its_end(either: Any) -> None:
    row = render(chat(*TURNS), either)
    assert trained(row, either) == "two<|im_end|>four<|im_end|>"
    assert row.trained_tokens == sum(row.is_trained)
    assert either.decode(row.token_ids).startswith("<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\none")


def test_both_ways_give_the_same_row(tokenizer: Any) -> None:
    marked = render(chat(*TURNS), tokenizer)
    tokenizer.chat_template = PLAIN
    assert render(chat(*TURNS), tokenizer) == marked


def test_turns_without_weight_are_not_trained(either: Any) -> None:
    assert trained(render(chat(*TURNS, weight=0), either), either) == "two<|im_end|>"
    assert render(chat(*TURNS[:3], weight=0), either).trained_tokens == 0


def test_a_turn_is_trained_or_not(either: Any) -> None:
    with pytest.raises(DataError, match=r"weight 0\.5"):
        render(chat(*TURNS, weight=0.5), either)


def test_a_conversation_may_begin_with_an_answer(either: Any) -> None:
    row = render(chat(("assistant", "hello"), ("user", "x"), ("assistant", "y")), either)
    assert "y<|im_end|>" in trained(row, either)


def test_tool_calls_are_trained(tokenizer: Any) -> None:
    call = ToolCall(id="1", function=FunctionCall(name="look", arguments='{"at": "sky"}'))
    turns = (Message(role="user", content="Look."), Message(role="assistant", tool_calls=(call,)))
    text = trained(render(Example(messages=turns), tokenizer), tokenizer)
    assert '"at": "sky"' in text
    assert text.endswith("<|im_end|>")


def test_arguments_that_are_no_json_are_refused(tokenizer: Any) -> None:
    call = ToolCall(id="1", function=FunctionCall(name="look", arguments="{at"))
    turns = (Message(role="user", content="Look."), Message(role="assistant", tool_calls=(call,)))
    with pytest.raises(DataError, match="arguments of the call of 'look' are no JSON"):
        render(Example(messages=turns), tokenizer)


def test_a_text_is_trained_whole_with_one_end_token(tokenizer: Any) -> None:
    row = render(Example(text="Ball 1 is red."), tokenizer)
    assert all(row.is_trained)
    assert tokenizer.decode(row.token_ids) == "Ball 1 is red.<|im_end|>"


@pytest.mark.parametrize("kind", ["preference", "kto"])
def test_rows_of_other_methods_are_refused(kind: str, tokenizer: Any) -> None:
    with pytest.raises(DataError, match=f"a {kind} row cannot be used"):
        render(small_dataset(kind=kind).train.examples[0], tokenizer)


def test_a_row_without_an_answer_teaches_nothing(either: Any) -> None:
    assert render(small_dataset(kind="prompt_only").train.examples[0], either).trained_tokens == 0


def test_a_template_that_rewrites_earlier_turns_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = (
        "{% for m in messages %}{% if loop.last or m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"
    )
    with pytest.raises(DataError, match="changes earlier turns"):
        render(chat(*TURNS), tokenizer)


def test_a_template_may_close_the_whole_conversation(tokenizer: Any) -> None:
    tokenizer.chat_template = PLAIN + "{% if not add_generation_prompt %}<|pad|>{% endif %}"
    assert trained(render(chat(*TURNS), tokenizer), tokenizer) == "two<|im_end|>four<|im_end|>\n<|pad|>"


def test_a_template_that_forgets_thoughts_is_refused(tokenizer: Any) -> None:
    """An answer that is cut short in later turns is not what the model is to write."""
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<think>"]})
    short = "(m.content if loop.last else m.content.split('</think>')[-1])"
    tokenizer.chat_template = PLAIN.replace("{{ m.content }}", f"{{{{ {short} }}}}")
    thinking = chat(("user", "one"), ("assistant", "<think>a</think>two"), ("user", "three"), ("assistant", "four"))
    with pytest.raises(DataError, match="changes earlier turns"):
        render(thinking, tokenizer)
    assert "<think>a</think>two" in trained(render(Example(messages=thinking.messages[:2]), tokenizer), tokenizer)


def test_named_templates_are_resolved(tokenizer: Any) -> None:
    row = render(chat(*TURNS), tokenizer)
    tokenizer.chat_template = {"default": tokenizer.chat_template}
    assert render(chat(*TURNS), tokenizer) == row


@pytest.mark.parametrize("marks", [[], [True], [False], [True, True, False, True], [False, True, True, False]])
def test_trained_spans_are_the_runs(marks: list[bool]) -> None:
    spans = trained_spans(marks)
    assert [place for start, end in spans for place in range(start, end)] == [i for i, mark in enumerate(marks) if mark]
    assert all(end < start for (_, end), (start, _) in zip(spans, spans[1:], strict=False))


def test_what_a_template_says_is_passed_on(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(DataError, match="refuses this row: roles must alternate"):
        render(chat(*TURNS), tokenizer)


def test_a_tokenizer_without_a_template_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    with pytest.raises(DataError, match="no chat template"):
        render(chat(*TURNS), tokenizer)


def test_end_tokens_are_those_of_the_template_too(either: Any) -> None:
    end = either.convert_tokens_to_ids("<|im_end|>")
    assert end_tokens(either) == {end}
    either.eos_token = "<|pad|>"
    assert end_tokens(either) == {end, either.convert_tokens_to_ids("<|pad|>")}
    either.chat_template = None
    assert end_tokens(either) == {either.convert_tokens_to_ids("<|pad|>")}


def test_messages_are_plain_for_templates() -> None:
    messages = chat_messages((Message(role="user", content="a"), Message(role="assistant", weight=0)))
    assert messages == [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]
