"""Names as people give them: lists of them, and what is said of one that does not exist."""

import difflib
from collections.abc import Iterable, Sequence


def nearest(kind: str, name: str, known: Iterable[str]) -> str:
    """Return a sentence on an unknown name, with the nearest known one and all others."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"There is no {kind} {name!r}.{hint} Choose one of: {', '.join(known)}."


def listed(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return names that are given as a list, or joined by commas as on a command line."""
    return tuple(name.strip() for name in names.split(",")) if isinstance(names, str) else tuple(names)
