"""Splitting rows by their content: the same row falls on the same side, whatever stands around it."""

import hashlib

from tunebridge.data.checks import Row, prompt_digest
from tunebridge.errors import DataError


def split_by_hash(rows: list[Row], share: float, *, seed: int = 0) -> tuple[list[Row], list[Row]]:
    """Return (training rows, held-out rows); about `share` of the rows is held out.

    The prompt's hash decides, so that rows that ask the same fall on the same side. DataError when one side is empty.
    """
    held_out = [row for row in rows if _position(row, seed) < share]
    kept = [row for row in rows if _position(row, seed) >= share]
    if not held_out or not kept:
        raise DataError(
            f"{len(rows)} rows are too few to hold out {share:.0%} of them. Add rows, or set data.validation to a file."
        )
    return kept, held_out


def _position(row: Row, seed: int) -> float:
    digest = hashlib.sha256(prompt_digest(row.example) + seed.to_bytes(8, "big")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
