"""Canonical rows -> the columns that TRL's trainers read."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from tunebridge.data.shapes import chat
from tunebridge.data.shapes.carries import Carries, Turn
from tunebridge.data.shapes.limits import load_limits
from tunebridge.data.shapes.notes import Notes, Rows, Shape
from tunebridge.data.shapes.order import require_last
from tunebridge.data.shapes.prompts import unroll
from tunebridge.data.shapes.turns import carried_answers, carried_keys, carried_turns
from tunebridge.data.targets import CanonicalRow, Target

COLUMNS = frozenset({"tools", "parallel_tool_calls", "id", "metadata", "reference", "split"})
"""Further columns reach reward functions and are left alone by the other trainers."""
MESSAGES = Carries(
    keys=COLUMNS,
    developer="L-template",
    system_later="L-template",
    name="L-template",
    tools=None,
    result_without_call=None,
    arguments="object",
    reasoning=None,
    images=frozenset({"web", "gs", "s3"}),
    parts=None,
    empty_answer=None,
    empty_turn=None,
)
UNROLLED = replace(MESSAGES, weight_zero=None)
LABELLED = replace(MESSAGES, keys=COLUMNS | {"label"})


def messages(row: CanonicalRow, notes: Notes) -> Rows:
    """Build `{"messages": [...]}`; every answer is trained."""
    turns = carried_turns(row["messages"], MESSAGES, notes)
    return ({**_columns(messages=turns), **carried_keys(row, MESSAGES, notes)},)


def prompt_completion(row: CanonicalRow, notes: Notes) -> Rows:
    """Build `{"prompt": [...], "completion": [...]}`, one row per trained answer."""
    kept = carried_keys(row, UNROLLED, notes)
    turns = carried_turns(row["messages"], UNROLLED, notes)
    if turns[0]["role"] == "assistant":
        notes.refuse("X-first-turn", "messages.0")
    exchanges = unroll(turns, notes)
    return tuple({**_columns(prompt=context, completion=[answer]), **kept} for context, answer in exchanges)


def preference(row: CanonicalRow, notes: Notes) -> Rows:
    """Build `{"prompt": [...], "chosen": [...], "rejected": [...]}`."""
    prompt = carried_turns(row["messages"], MESSAGES, notes, trained=False)
    chosen, rejected = carried_answers(row, MESSAGES, notes, single=False)
    return ({**_columns(prompt=prompt, chosen=chosen, rejected=rejected), **carried_keys(row, MESSAGES, notes)},)


def labelled(row: CanonicalRow, notes: Notes) -> Rows:
    """Build `{"prompt": [...], "completion": [...], "label": ...}`; the answer is the last turn (KTO)."""
    *before, answer = carried_turns(row["messages"], LABELLED, notes, trained=False)
    require_last([answer], ("assistant",), notes)
    if not before:
        notes.refuse("X-first-turn", "messages.0")
    return ({**_columns(prompt=before, completion=[answer]), **carried_keys(row, LABELLED, notes)},)


def prompt_only(row: CanonicalRow, notes: Notes) -> Rows:
    """Build `{"prompt": [...]}` for trainers that write the answers themselves."""
    prompt = carried_turns(row["messages"], MESSAGES, notes, trained=False)
    return ({**_columns(prompt=prompt), **carried_keys(row, MESSAGES, notes)},)


def _columns(**turns: Sequence[Turn]) -> dict[str, Any]:
    """Return columns of turns; the addresses of their images stand in the column `images`, in order."""
    images: list[str] = []
    built: dict[str, Any] = {name: [_message(turn, images) for turn in column] for name, column in turns.items()}
    return {**built, "images": images} if images else built


def _message(turn: Turn, images: list[str]) -> dict[str, Any]:
    """Return a turn with `reasoning` under the name that most chat templates read, and places for its images."""
    built = {"reasoning_content" if key == "reasoning" else key: value for key, value in turn.items()}
    if isinstance(turn.get("content"), list):
        built["content"] = [_part(part, images) for part in turn["content"]]
    return built


def _part(part: dict[str, Any], images: list[str]) -> dict[str, Any]:
    if "image_url" not in part:
        return part
    images.append(part["image_url"]["url"])
    return {"type": "image"}


SHAPES = {
    "messages": Shape("sft", messages),
    "prompt_completion": Shape("sft", prompt_completion),
    "preference": Shape("preference", preference),
    "kto": Shape("kto", labelled),
    "prompt_only": Shape("prompt_only", prompt_only),
    "text": Shape("text", partial(chat.text, carries=replace(MESSAGES, keys=COLUMNS - {"tools"}))),
}


def targets() -> list[Target]:
    """Return the targets of TRL's trainers, which read any number of files."""
    limits = load_limits(__package__)["trl"]
    return [Target("huggingface", name, shape.kinds, shape.convert, limits) for name, shape in SHAPES.items()]
