"""The order of turns that services ask for."""

from collections.abc import Sequence

from tunebridge.data.shapes.carries import Turn
from tunebridge.data.shapes.notes import Notes


def require_last(turns: Sequence[Turn], roles: tuple[str, ...], notes: Notes) -> None:
    """Refuse a conversation that does not end with a turn of one of some roles."""
    if turns[-1]["role"] not in roles:
        notes.refuse("X-last-turn", "messages")


def require_alternation(turns: Sequence[Turn], notes: Notes) -> None:
    """Refuse a conversation that is not a system turn or none, then user and assistant in alternation."""
    spoken = turns[1:] if turns[0]["role"] == "system" else turns
    if not spoken or spoken[0]["role"] != "user":
        notes.refuse("X-first-turn", "messages")
    if any(turn["role"] == following["role"] for turn, following in zip(spoken, spoken[1:], strict=False)):
        notes.refuse("X-alternation", "messages")
