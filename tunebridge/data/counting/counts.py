"""A number of tokens, exact or within an interval, and what a counter of them offers."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from tunebridge.data.targets import CanonicalRow


@dataclass(frozen=True)
class TokenCount:
    """A number of tokens: exact, or likely and within an interval."""

    low: int
    likely: int
    high: int
    exact: bool
    method: str
    """How it was counted, for people."""

    def __add__(self, other: "TokenCount") -> "TokenCount":
        """Return the sum; it is as exact as its weaker part and names how that was counted."""
        weaker = other if self.exact and not other.exact else self
        return TokenCount(
            self.low + other.low, self.likely + other.likely, self.high + other.high, weaker.exact, weaker.method
        )


class RowTokens(NamedTuple):
    """The tokens of one row by what becomes of them in training."""

    trained: TokenCount
    """Answers, which count in the loss."""
    prompt: TokenCount
    """Everything else, with what the chat format adds."""
    longest: TokenCount
    """The longest sequence that the row becomes: one for most kinds, two for a preference."""
    images: int = 0
    """Images of the row, which are not in the counts: what they cost depends on their size and the model."""

    @property
    def total(self) -> TokenCount:
        """All tokens of the row."""
        return self.trained + self.prompt


class TokenCounter(Protocol):
    """Counts tokens for one model."""

    @property
    def method(self) -> str:
        """How it counts, for people."""

    @property
    def is_exact(self) -> bool:
        """Whether texts are counted by the model's own tokenizer."""

    def count_text(self, text: str) -> TokenCount:
        """Return the tokens of a text that stands alone."""

    def count_row(self, row: CanonicalRow) -> TokenCount:
        """Return the tokens of a row as it is trained on, with what the chat format adds."""

    def count_parts(self, row: CanonicalRow) -> RowTokens:
        """Return the same by part."""
