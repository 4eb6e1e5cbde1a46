"""Canonical rows -> the rows of services that speak OpenAI's dialect; what each of them omits is a table here."""

from dataclasses import replace
from functools import partial
from typing import Any

from tunebridge.data.shapes import chat
from tunebridge.data.shapes.carries import Carries, Turn
from tunebridge.data.shapes.limits import load_limits
from tunebridge.data.shapes.notes import Notes, Rows, Shape
from tunebridge.data.targets import CanonicalRow, Target

OPENAI = Carries(
    keys=frozenset({"tools", "parallel_tool_calls"}),
    developer=None,
    system_later=None,
    name=None,
    weight_zero=None,
    tools=None,
    images=frozenset({"web", "data"}),
    image_detail=None,
    parts=None,
    empty_turn=None,
)
# A pair trains its two answers and nothing else, and has no images.
OPENAI_PAIR = replace(OPENAI, weight_zero="X-weight-zero", images=frozenset())
# What stands beside the prompt reaches the grader as `item.*`.
OPENAI_PROMPT = replace(OPENAI, keys=OPENAI.keys | {"reference", "metadata", "id", "split"})

TOGETHER = Carries(
    system_later="X-system-later",
    weight_zero=None,
    images=frozenset({"data"}),
    parts=None,
    empty_answer=None,
    empty_turn=None,
)
TOGETHER_PAIR = replace(TOGETHER, weight_zero="X-weight-zero", images=frozenset(), parts="L-parts-joined")

FIREWORKS = Carries(
    keys=frozenset({"tools"}),
    weight_zero=None,
    tools=None,
    images=frozenset({"data"}),
    parts=None,
    empty_turn=None,
)
FIREWORKS_PAIR = Carries(empty_turn=None)

MISTRAL = replace(FIREWORKS, call_ids="L-call-ids-renamed")


def together_chat(row: CanonicalRow, notes: Notes) -> Rows:
    """Build a chat row whose contents are all texts or all lists of parts: Together takes no mixture."""
    (built,) = chat.chat(row, notes, TOGETHER, alternates=True)
    if any(isinstance(turn["content"], list) for turn in built["messages"]):
        built["messages"] = [_with_parts(turn) for turn in built["messages"]]
    return (built,)


def _with_parts(turn: Turn) -> dict[str, Any]:
    content = turn["content"]
    return {**turn, "content": [{"type": "text", "text": content}] if isinstance(content, str) else content}


OPENAI_SHAPES = {
    "chat": Shape("sft", partial(chat.chat, carries=OPENAI)),
    "dpo": Shape("preference", partial(chat.preference, carries=OPENAI_PAIR)),
    "rft": Shape("prompt_only", partial(chat.prompt, carries=OPENAI_PROMPT)),
}
SHAPES = {
    "openai": OPENAI_SHAPES,
    "azure_openai": OPENAI_SHAPES,
    "together": {
        "chat": Shape("sft", together_chat),
        "dpo": Shape("preference", partial(chat.preference, carries=TOGETHER_PAIR, alternates=True)),
        "text": Shape("text", partial(chat.text, carries=Carries())),
    },
    "fireworks": {
        "chat": Shape("sft", partial(chat.chat, carries=FIREWORKS)),
        "dpo": Shape("preference", partial(chat.preference, carries=FIREWORKS_PAIR)),
    },
    "mistral": {"chat": Shape("sft", partial(chat.chat, carries=MISTRAL))},
}
"""Service -> name of the shape -> shape."""


def targets() -> list[Target]:
    """Return every service's targets; a job takes one file, except Mistral's."""
    limits = load_limits(__package__)
    return [
        Target(
            backend,
            name,
            shape.kinds,
            shape.convert,
            limits[backend],
            byte_order_mark=backend == "azure_openai",
            may_split=backend == "mistral",
        )
        for backend, shapes in SHAPES.items()
        for name, shape in shapes.items()
    ]
