"""Conversations for services that take a prompt and an answer: one row per trained answer, roles as words."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tunebridge.data.shapes.carries import Turn
from tunebridge.data.shapes.content import text_of
from tunebridge.data.shapes.notes import Notes

SPEAKERS = {"user": "User", "assistant": "Assistant"}


class Exchange(NamedTuple):
    """A trained answer and everything that was said before it."""

    context: list[dict[str, Any]]
    """Turns before the answer, without weights: none of them is trained here."""
    answer: Turn


def unroll(turns: Sequence[Turn], notes: Notes) -> Iterator[Exchange]:
    """Yield each trained answer with its context: the sum of the rows' losses is the conversation's."""
    trained = [n for n, turn in enumerate(turns) if turn["role"] == "assistant" and turn.get("weight") != 0]
    if trained[-1] < len(turns) - 1:
        notes.report("L-trailing-turns", f"messages.{trained[-1] + 1}")
    unweighted = [{key: value for key, value in turn.items() if key != "weight"} for turn in turns]
    for number in trained:
        yield Exchange(unweighted[:number], turns[number])


def prompt_text(context: Sequence[Turn], notes: Notes) -> str:
    """Return a context as a prompt: a lone user's turn as it is, anything longer as a dialogue."""
    if not any(turn["role"] == "user" for turn in context):
        notes.refuse("X-first-turn", "messages")
    if context[0]["role"] == "system":
        notes.report("L-system-in-prompt", "messages")
    spoken = [turn for turn in context if turn["role"] != "system"]
    if len(spoken) == 1:
        return "\n\n".join(text_of(turn["content"]) for turn in context)
    notes.report("L-rendered", "messages")
    return dialogue(context)


def dialogue(context: Sequence[Turn]) -> str:
    """Return turns as one text that ends where the assistant's answer begins.

    Each turn stands after its speaker (`User: Hello`), a system's without one, with empty lines between.
    """
    lines = [
        text_of(turn["content"])
        if turn["role"] == "system"
        else f"{SPEAKERS[turn['role']]}: {text_of(turn['content'])}"
        for turn in context
    ]
    return "\n\n".join([*lines, "Assistant:"])
