"""What a shape carries of a row, feature by feature."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Turn = Mapping[str, Any]
Code = str | None
Source = Literal["web", "data", "gs", "s3", "other"]


@dataclass(frozen=True)
class Carries:
    """What a shape carries of a row: None where it does, the code of what happens where it does not.

    As it is made without arguments it carries plain texts of a system, users and an assistant only.
    """

    keys: frozenset[str] = frozenset()
    """Keys of the row beside the conversation that are carried under their own names."""
    developer: Code = "L-developer"
    system_later: Code = "L-system-merged"
    name: Code = "L-name"
    weight_zero: Code = "X-weight-zero"
    weight_fraction: Code = "X-weight-fraction"
    tools: Code = "X-tools"
    call_ids: Code = None
    result_without_call: Code = "X-tool-result"
    arguments: Literal["text", "object"] = "text"
    """Whether a call's arguments come out as the text that they are or as the object that it says."""
    reasoning: Code = "L-reasoning"
    images: frozenset[Source] = frozenset()
    """Where images may lie."""
    image_types: frozenset[str] | None = None
    """Media types that images may have, told by the end of their address; None: not looked at."""
    image_detail: Code = "L-image-detail"
    parts: Code = "L-parts-joined"
    """Several parts of text in one turn."""
    empty_answer: Code = "X-empty-answer"
    empty_turn: Code = "X-empty-turn"
    """A system or user turn without content."""
