"""The turns of a row, with what a shape does not carry taken out of them and reported."""

from collections.abc import Sequence
from typing import Any

from tunebridge.data.shapes.calls import carried_calls, carried_id, require_functions
from tunebridge.data.shapes.carries import Carries, Code, Turn
from tunebridge.data.shapes.content import carried_content, text_of
from tunebridge.data.shapes.notes import Notes
from tunebridge.data.targets import CanonicalRow

CONVERSATION = frozenset({"messages", "preferred", "rejected", "text"})
ROW_CODES = {
    "id": "L-id",
    "metadata": "L-metadata",
    "reference": "L-reference",
    "split": "L-split",
    "label": "L-label",
    "parallel_tool_calls": "L-parallel-calls",
    "tools": "X-tools",
}
"""Key of a row beside the conversation -> what happens where it is not carried."""


def carried_keys(row: CanonicalRow, carries: Carries, notes: Notes) -> dict[str, Any]:
    """Return the keys beside the conversation that are carried; the others are reported. No tools are none."""
    kept: dict[str, Any] = {}
    for key, value in row.items():
        if key in CONVERSATION or (key in ("tools", "metadata") and not value):
            continue
        if key in carries.keys:
            kept[key] = value
        else:
            notes.report(ROW_CODES[key], key)
    if "tools" in kept:
        require_functions(kept["tools"], notes)
    return kept


def carried_turns(
    turns: Sequence[Turn], carries: Carries, notes: Notes, *, at: str = "messages", trained: bool = True
) -> list[dict[str, Any]]:
    """Return turns with no keys but those that are carried; plain ones are passed on as they are, not copied.

    Empty tool calls, empty reasoning, a weight of 1 and the weight 0 of turns that are not `trained` say nothing and
    are left out. An empty content is "" or, beside tool calls, left out; a single part of text is a text. With
    `arguments="object"` calls come out with objects.
    """
    if not turns:
        notes.refuse("X-empty-turn", at)
    kept: list[dict[str, Any]] = []
    later_systems = 0
    for index, turn in enumerate(turns):
        role = turn["role"]
        content = turn.get("content")
        if len(turn) == 2 and content and content.__class__ is str and (role == "user" or role == "assistant"):
            kept.append(turn)  # type: ignore[arg-type]  # never written to
            continue
        path = f"{at}.{index}"
        if index and (role == "system" or role == "developer"):
            later_systems += 1
            notes.report(carries.system_later, path)
        kept.append(_carry(turn, path, carries, notes, trained=trained))
    return _merge_systems(kept) if later_systems and carries.system_later == "L-system-merged" else kept


def carried_answers(
    row: CanonicalRow, carries: Carries, notes: Notes, *, single: bool = True
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the preferred and the rejected answer; where not `single`, tool results and further turns may follow."""
    for key in ("preferred", "rejected"):
        roles = [turn["role"] for turn in row[key]]
        if roles[:1] != ["assistant"] or not {*roles} <= {"assistant", "tool"} or (single and len(roles) > 1):
            notes.refuse("X-answer-turns", key)
    return (
        carried_turns(row["preferred"], carries, notes, at="preferred"),
        carried_turns(row["rejected"], carries, notes, at="rejected"),
    )


def _carry(turn: Turn, at: str, carries: Carries, notes: Notes, *, trained: bool) -> dict[str, Any]:
    role = turn["role"]
    _refuse_misplaced(turn, at, notes)
    kept: dict[str, Any] = {"role": "system" if role == "developer" and carries.developer == "L-developer" else role}
    content = carried_content(turn, at, carries, notes)
    if content is not None:
        kept["content"] = content
    if role == "developer":
        notes.report(carries.developer, at)
    elif role == "tool":
        _carry_result(kept, turn, at, carries, notes)
    if "name" in turn:
        _keep(kept, "name", turn["name"], carries.name, at, notes)
    if turn.get("reasoning"):
        _keep(kept, "reasoning", turn["reasoning"], carries.reasoning, at, notes)
    if "weight" in turn:
        _weigh(kept, turn["weight"], at, carries, notes, trained=trained and role == "assistant")
    if turn.get("tool_calls"):
        notes.report(carries.tools, f"{at}.tool_calls")
        kept["tool_calls"] = carried_calls(turn["tool_calls"], f"{at}.tool_calls", carries, notes)
    return kept


def _refuse_misplaced(turn: Turn, at: str, notes: Notes) -> None:
    role = turn["role"]
    for key, owner in (("tool_calls", "assistant"), ("reasoning", "assistant"), ("tool_call_id", "tool")):
        if role != owner and turn.get(key):
            notes.refuse("X-misplaced", f"{at}.{key}")


def _carry_result(kept: dict[str, Any], turn: Turn, at: str, carries: Carries, notes: Notes) -> None:
    notes.report(carries.tools, at)
    if "tool_call_id" not in turn:
        notes.report(carries.result_without_call, at)
        return
    kept["tool_call_id"] = carried_id(turn["tool_call_id"], carries)
    if kept["tool_call_id"] != turn["tool_call_id"]:
        notes.report(carries.call_ids, f"{at}.tool_call_id")


def _keep(kept: dict[str, Any], key: str, value: Any, code: Code, at: str, notes: Notes) -> None:
    notes.report(code, f"{at}.{key}")
    if code in (None, "L-template"):
        kept[key] = value


def _weigh(kept: dict[str, Any], weight: float, at: str, carries: Carries, notes: Notes, *, trained: bool) -> None:
    if not trained:
        notes.report("L-weight-untrained" if weight else None, f"{at}.weight")
    elif weight == 0:
        notes.report(carries.weight_zero, f"{at}.weight")
        kept["weight"] = 0
    elif weight != 1:
        notes.report(carries.weight_fraction, f"{at}.weight")
        kept["weight"] = weight


def _merge_systems(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    systems = [text_of(turn["content"]) for turn in turns if turn["role"] == "system"]
    others = [turn for turn in turns if turn["role"] != "system"]
    return [{"role": "system", "content": "\n\n".join(systems)}, *others]
