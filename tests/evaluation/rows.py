"""Rows and answers for tests of evaluations."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def rows(count: int) -> list[Row]:
    """Return rows that ask for twice a number."""
    return [
        {
            "id": f"row-{number}",
            "messages": [
                {"role": "user", "content": f"Twice {number}?"},
                {"role": "assistant", "content": str(2 * number)},
            ],
            "metadata": {"parity": "odd" if number % 2 else "even"},
        }
        for number in range(count)
    ]


def right(row: Row) -> str:
    """Return the right answer."""
    return str(row["messages"][-1]["content"])


def write(path: Path, lines: Iterable[Row]) -> Path:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def recorded(path: Path, asked: Sequence[Row], *, wrong: Iterable[int] = ()) -> Path:
    """Write answers that are right but for some rows."""
    mistakes = {*wrong}
    return write(
        path, ({"id": row["id"], "output": "?" if n in mistakes else right(row)} for n, row in enumerate(asked))
    )


def twice(turns: Sequence[Row]) -> str:
    """Answer a row as a model would that is always right."""
    return str(2 * int(turns[-1]["content"].removeprefix("Twice ").removesuffix("?")))
