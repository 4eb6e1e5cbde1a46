"""The canonical row: a superset of OpenAI's chat rows, with no vendor's peculiarities."""

from collections.abc import Iterator
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,  # pydantic reads typing's own only from Python 3.12 on
    Self,
)

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import TypedDict

from tunebridge.spec import SpecModel

Role = Literal["system", "developer", "user", "assistant", "tool"]
Kind = Literal["sft", "preference", "prompt_only", "kto", "text"]
Feature = Literal["tools", "images", "reasoning", "weight", "name"]
"""Parts of a row beyond role and text, which not every backend can take."""


class TextPart(TypedDict):
    """A piece of text among other parts."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]  # pydantic's way to say it

    type: Literal["text"]
    text: str


class ImageUrl(TypedDict):
    """Where an image is: a URL of any kind (https, gs, s3) or a data URI, and how closely it is looked at."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    url: str
    detail: NotRequired[Literal["auto", "low", "high"]]


class ImagePart(TypedDict):
    """An image among other parts."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class FunctionCall(SpecModel):
    """Name and arguments of a call; the arguments stay the JSON text that the model wrote."""

    name: str
    arguments: str


class ToolCall(SpecModel):
    """A call of a tool by the assistant."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(SpecModel):
    """One turn of a conversation."""

    role: Role
    content: str | tuple[Part, ...] | None = None
    """Text, a list of parts such as text and images, or nothing beside tool calls."""
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: str | None = None
    reasoning: str | None = None
    """What the assistant thought before it answered, where the data has it."""
    weight: Annotated[float, Field(ge=0)] | None = None
    """Weight of an assistant's turn in the loss; 0 leaves it out, unset is 1."""

    @property
    def features(self) -> Iterator[Feature]:
        """Yield what the turn has beyond role and text."""
        if self.tool_calls or self.role == "tool":
            yield "tools"
        if isinstance(self.content, tuple) and any(part["type"] != "text" for part in self.content):
            yield "images"
        if self.reasoning is not None:
            yield "reasoning"
        if self.weight is not None:
            yield "weight"
        if self.name is not None:
            yield "name"


class Example(SpecModel):
    """One row of a dataset; its kind follows from the keys that it has."""

    messages: tuple[Message, ...] | None = None
    """The conversation (sft), or the context of a preference, kto or prompt-only row."""
    text: str | None = None
    """Plain text for continued pre-training."""
    tools: tuple[dict[str, Any], ...] | None = None
    parallel_tool_calls: bool | None = None
    preferred: tuple[Message, ...] | None = None
    rejected: tuple[Message, ...] | None = None
    label: bool | None = None
    """Whether the answer is a good one (kto)."""
    reference: Any = None
    """What a grader compares with."""
    id: Annotated[str, Field(coerce_numbers_to_str=True)] | None = None
    """The row's name in recorded answers and reports; a number is kept as its digits."""
    metadata: dict[str, Any] | None = None
    split: Literal["train", "validation", "test"] | None = None

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if (self.messages is None) == (self.text is None):
            raise ValueError("a row has either `messages` or `text`")
        if (self.preferred is None) != (self.rejected is None):
            raise ValueError("a preference row has both `preferred` and `rejected`")
        return self

    @property
    def kind(self) -> Kind:
        """Return what the row can teach."""
        if self.text is not None:
            return "text"
        if self.preferred is not None:
            return "preference"
        if self.label is not None:
            return "kto"
        has_answer = any(m.role == "assistant" and m.weight != 0 for m in self.messages or ())
        return "sft" if has_answer else "prompt_only"

    @property
    def features(self) -> frozenset[Feature]:
        """Return what the row has beyond role and text."""
        turns = (*(self.messages or ()), *(self.preferred or ()), *(self.rejected or ()))
        found: set[Feature] = {feature for turn in turns for feature in turn.features}
        return frozenset(found | {"tools"} if self.tools else found)

    def to_json(self) -> dict[str, Any]:
        """Return the canonical form: the set fields only, as plain JSON values."""
        return self.model_dump(mode="json", exclude_none=True)


def row_schema() -> dict[str, Any]:
    """Return the JSON schema of a canonical row."""
    schema = Example.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "TuneBridge row"}
