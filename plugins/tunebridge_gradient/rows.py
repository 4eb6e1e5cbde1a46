"""Canonical rows -> Gradient.AI's samples: whole prompts as text, answers trained, the weight as a multiplier."""

from typing import Any

from tunebridge.data.shapes import chat
from tunebridge.data.shapes.carries import Carries
from tunebridge.data.shapes.content import text_of
from tunebridge.data.shapes.limits import load_limits
from tunebridge.data.shapes.notes import Notes, Rows, Shape
from tunebridge.data.shapes.prompts import dialogue, unroll
from tunebridge.data.shapes.turns import carried_keys, carried_turns
from tunebridge.data.targets import CanonicalRow, Target

CARRIES = Carries(weight_zero=None, weight_fraction=None)


def sample(row: CanonicalRow, notes: Notes) -> Rows:
    """Build `{"inputs": [prompt, answer], "fineTuningParameters": {"multiplier"}}`, one per trained answer.

    There are no roles: `dialogue` writes the prompt, which must be written the same way when the model answers.
    """
    notes.report("L-rendered", "messages")
    carried_keys(row, CARRIES, notes)
    turns = carried_turns(row["messages"], CARRIES, notes)
    samples = []
    for context, answer in unroll(turns, notes):
        inputs = [
            {"value": dialogue(context), "trainable": False},
            {"value": f" {text_of(answer['content'])}", "trainable": True},
        ]
        built: dict[str, Any] = {"inputs": inputs}
        if "weight" in answer:
            built["fineTuningParameters"] = {"multiplier": answer["weight"]}
        samples.append(built)
    return tuple(samples)


def text(row: CanonicalRow, notes: Notes) -> Rows:
    """Build `{"inputs": text}`, trained whole."""
    (built,) = chat.text(row, notes, CARRIES)
    return ({"inputs": built["text"]},)


SHAPES = {"inputs": Shape("sft", sample), "text": Shape("text", text)}


def targets() -> list[Target]:
    """Return Gradient.AI's targets; samples are sent in chunks."""
    limits = load_limits(__package__)["inputs"]
    return [Target("gradient", name, shape.kinds, shape.convert, limits) for name, shape in SHAPES.items()]
