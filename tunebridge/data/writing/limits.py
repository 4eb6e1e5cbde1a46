"""What a target's limits say of the number and size of rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tunebridge.data.problems import Finding
from tunebridge.data.targets import Target


def check_limits(target: Target, *, train: "Extent", validation: "Extent | None") -> Iterator[Finding]:
    """Yield what a target's limits say against the number and size of rows.

    Where more files than one are taken, `max_rows` is that of a file.
    """
    limits = target.limits
    validation = validation or Extent()
    shares = limits.max_validation_share or 1.0
    counted: Sequence[tuple[str, int, int | float | None]] = (
        ("training rows", train.rows, None if target.may_split else limits.max_rows),
        ("validation rows", validation.rows, limits.max_validation_rows),
        ("bytes of validation rows", validation.size_bytes, limits.max_validation_bytes),
        ("validation rows", validation.rows, shares * train.rows if limits.max_validation_share else None),
    )
    for what, found, most in counted:
        if most is not None and found > most:
            yield Finding("E012", f"{found:,} {what}, at most {most:,.0f} are taken", "Take fewer.")
    if not train.rows:
        yield Finding("E010", "no training row is left", "Add rows that the backend can take.")
    if limits.min_rows is not None and train.rows < limits.min_rows:
        yield Finding("E012", f"{train.rows:,} training rows, at least {limits.min_rows:,} are needed", "Add rows.")


@dataclass
class Extent:
    """How much there is of one side, in the target's shape."""

    rows: int = 0
    size_bytes: int = 0
