"""Canonical prompts -> rows of Gemini's reinforcement tuning and distillation: contents that end with the user."""

from collections.abc import Sequence
from typing import Any

from tunebridge.data.shapes.carries import Carries, Turn
from tunebridge.data.shapes.content import text_of
from tunebridge.data.shapes.notes import Notes, Rows, Shape
from tunebridge.data.shapes.order import require_last
from tunebridge.data.shapes.turns import carried_keys, carried_turns
from tunebridge.data.targets import CanonicalRow

PROMPTS = Carries(parts=None)
REFERENCED = Carries(keys=frozenset({"reference"}), parts=None)
ROLES = {"user": "user", "assistant": "model"}


def prompt(row: CanonicalRow, notes: Notes) -> Rows:
    """Build `{"systemInstruction", "contents"}`; a teacher writes the answers."""
    carried_keys(row, PROMPTS, notes)
    return (_asked(carried_turns(row["messages"], PROMPTS, notes, trained=False), notes),)


def rewarded(row: CanonicalRow, notes: Notes) -> Rows:
    """Build `{"systemInstruction", "contents", "references"}`; a reward compares answers with the references."""
    kept = carried_keys(row, REFERENCED, notes)
    built = _asked(carried_turns(row["messages"], REFERENCED, notes, trained=False), notes)
    return ({**built, **_references(kept.get("reference"))},)


def _asked(turns: Sequence[Turn], notes: Notes) -> dict[str, Any]:
    require_last(turns, ("user",), notes)
    built: dict[str, Any] = {}
    for turn in turns:
        parts = [{"text": text_of(turn["content"])}]
        if turn["role"] == "system":
            built["systemInstruction"] = {"role": "system", "parts": parts}
        else:
            built.setdefault("contents", []).append({"role": ROLES[turn["role"]], "parts": parts})
    return built


def _references(reference: Any) -> dict[str, Any]:
    """Return references by name; one without a name is called `reference`."""
    if reference is None:
        return {}
    named = reference if isinstance(reference, dict) else {"reference": reference}
    return {"references": {name: value if isinstance(value, str) else str(value) for name, value in named.items()}}


SHAPES = {"prompt": Shape("prompt_only", prompt), "rewarded": Shape("prompt_only", rewarded)}
