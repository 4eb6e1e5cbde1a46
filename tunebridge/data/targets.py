"""What a row becomes on a service: a Target turns canonical rows into a service's own shape, and says what is lost.

Readers bring rows in, targets bring them out; both are brought by plugins (`tunebridge_dataset_readers`,
`tunebridge_dataset_targets`). A conversion is a pure function over a canonical row as plain JSON values
(`Example.to_json()`): no I/O, no SDK, no pydantic, because it runs once per row of files of any size.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from tunebridge.data.example import Kind
from tunebridge.errors import PluginError
from tunebridge.spec import SpecModel

CanonicalRow = Mapping[str, Any]
"""`Example.to_json()`: the set fields only, as plain JSON values."""


class LocatedRow(NamedTuple):
    """A canonical row and the line of the file that it came from."""

    line: int
    row: CanonicalRow


class Loss(NamedTuple):
    """Something of a row that the target cannot carry."""

    code: str
    """Stable, such as `L-name-dropped` for a loss or `X-tools` where the row cannot be taken at all."""
    message: str
    """What is lost, for people, without values of the row."""
    path: str | None = None
    """Where in the canonical row, such as `messages.2.weight`."""


class Converted(NamedTuple):
    """A canonical row in a target's shape."""

    rows: tuple[dict[str, Any], ...]
    """The target's rows: usually one, several where a conversation is unrolled, none when refused."""
    losses: tuple[Loss, ...] = ()
    """What the rows lost on the way; empty: the conversion is exact."""
    refused: Loss | None = None
    """Why the target cannot take the row at all."""


class Limits(SpecModel):
    """What a target accepts at most and at least; data with a date and a source, not code."""

    as_of: date
    source_url: str
    confidence: Literal["documented", "measured", "unverified"]
    min_rows: int | None = None
    max_rows: int | None = None
    max_bytes: int | None = None
    """Bytes of one file."""
    max_row_tokens: int | None = None
    max_validation_rows: int | None = None
    max_validation_bytes: int | None = None
    max_validation_share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Validation rows or bytes as a share of the training ones, whichever the service counts."""


@dataclass(frozen=True)
class Target:
    """One shape of row that a service takes."""

    backend: str
    """The backend that takes it, as `--for` names it."""
    name: str
    """Which of the backend's shapes, such as `chat` or `gemini_sft`; unique within the backend."""
    kinds: frozenset[Kind]
    """Kinds of canonical rows that it can take."""
    convert: Callable[[CanonicalRow], Converted]
    limits: Limits
    suffix: str = ".jsonl"
    byte_order_mark: bool = False
    """Whether the service wants files to begin with a UTF-8 byte order mark."""
    may_split: bool = True
    """Whether more rows than fit into one file may go into several."""


def convert_row(row: CanonicalRow, target: Target) -> Converted:
    """Convert one row; PluginError when the target itself fails."""
    try:
        return target.convert(row)
    except Exception as error:  # a third party's code may raise anything
        message = f"the shape {target.backend}/{target.name} failed on a row ({type(error).__name__})."
        raise PluginError(f"{message} Report it to the author of its plugin.") from error
