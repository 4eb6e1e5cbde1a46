"""A target for tests: chat rows in a shape of its own, which cannot take everything."""

from datetime import date

from tunebridge.data.targets import CanonicalRow, Converted, Limits, Loss, Target

LIMITS = Limits(as_of=date(2026, 1, 1), source_url="https://example.com", confidence="unverified")


def convert(row: CanonicalRow) -> Converted:
    """Refuse tools, drop names."""
    if row.get("tools"):
        return Converted((), refused=Loss("X-tools", "tools cannot be sent", "tools"))
    turns = [[message["role"], message.get("content")] for message in row["messages"]]
    named = [n for n, message in enumerate(row["messages"]) if "name" in message]
    losses = tuple(Loss("L-name-dropped", "names are left out", f"messages.{n}.name") for n in named)
    return Converted(({"turns": turns},), losses)


def target(**limits: object) -> Target:
    """Return the target with some limits."""
    may_split = bool(limits.pop("may_split", True))
    mark = bool(limits.pop("byte_order_mark", False))
    checked = Limits.model_validate({**LIMITS.model_dump(), **limits})
    kinds = frozenset({"sft", "prompt_only"})
    return Target("fake", "turns", kinds, convert, checked, may_split=may_split, byte_order_mark=mark)  # type: ignore[arg-type]
