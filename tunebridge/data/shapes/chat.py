"""The dialect of chat rows that OpenAI made and many services speak, each with its own omissions."""

from typing import Any

from tunebridge.data.shapes.carries import Carries
from tunebridge.data.shapes.notes import Notes, Rows
from tunebridge.data.shapes.order import require_alternation, require_last
from tunebridge.data.shapes.turns import carried_answers, carried_keys, carried_turns
from tunebridge.data.targets import CanonicalRow


def chat(row: CanonicalRow, notes: Notes, carries: Carries, *, alternates: bool = False) -> Rows:
    """Build `{"messages": [...], "tools": [...]}`; the last turn is the assistant's."""
    kept = carried_keys(row, carries, notes)
    turns = carried_turns(row["messages"], carries, notes)
    require_last(turns, ("assistant",), notes)
    if alternates:
        require_alternation(turns, notes)
    return ({"messages": turns, **kept},)


def preference(row: CanonicalRow, notes: Notes, carries: Carries, *, alternates: bool = False) -> Rows:
    """Build `{"input": {"messages": [...]}, "preferred_output": [...], "non_preferred_output": [...]}`."""
    kept = carried_keys(row, carries, notes)
    turns = carried_turns(row["messages"], carries, notes, trained=False)
    require_last(turns, ("user", "tool"), notes)
    if alternates:
        require_alternation(turns, notes)
    preferred, rejected = carried_answers(row, carries, notes)
    given: dict[str, Any] = {"messages": turns, **kept}
    return ({"input": given, "preferred_output": preferred, "non_preferred_output": rejected},)


def prompt(row: CanonicalRow, notes: Notes, carries: Carries) -> Rows:
    """Build `{"messages": [...]}` that end with the user, beside whatever a grader is to see."""
    kept = carried_keys(row, carries, notes)
    turns = carried_turns(row["messages"], carries, notes, trained=False)
    require_last(turns, ("user",), notes)
    return ({"messages": turns, **kept},)


def text(row: CanonicalRow, notes: Notes, carries: Carries) -> Rows:
    """Build `{"text": ...}` for continued pre-training."""
    if row.get("tools") or "preferred" in row:
        notes.refuse("X-mixed")
    if not row["text"]:
        notes.refuse("X-empty-turn", "text")
    return ({"text": row["text"], **carried_keys(row, carries, notes)},)
