"""How many tokens files of rows have: totals by split and part, the longest rows, and those that are too long."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from tunebridge.data.counting.counts import RowTokens, TokenCount, TokenCounter
from tunebridge.data.targets import LocatedRow
from tunebridge.errors import DataError

MOST_LONGEST_ROWS = 5


@dataclass
class SplitTokens:
    """The tokens of one split of one file."""

    file: str
    split: str
    trained: TokenCount
    prompt: TokenCount
    rows: int = 0
    images: int = 0
    """Images in the rows; what they cost is in no count."""
    longest: list[tuple[int, int]] = field(default_factory=list)
    """(tokens, line) of the longest rows, longest first."""
    too_long: int = 0
    """Rows that are likely longer than `max_length`."""
    perhaps_too_long: int = 0
    """Rows that are longer if each count is as high as it may be."""

    @property
    def total(self) -> TokenCount:
        """All tokens."""
        return self.trained + self.prompt

    def add(self, tokens: RowTokens, line: int, max_length: int | None) -> None:
        """Count one more row."""
        self.rows += 1
        self.images += tokens.images
        self.trained += tokens.trained
        self.prompt += tokens.prompt
        self.longest = heapq.nlargest(MOST_LONGEST_ROWS, [*self.longest, (tokens.longest.likely, line)])
        if max_length is not None:
            self.too_long += tokens.longest.likely > max_length
            self.perhaps_too_long += tokens.longest.high > max_length


def count_rows(
    rows: Iterable[LocatedRow], counter: TokenCounter, *, file: str, max_length: int | None
) -> list[SplitTokens]:
    """Return the tokens of a file's rows, a record for each split that they name; DataError with file and line."""
    splits: dict[str, SplitTokens] = {}
    nothing = TokenCount(0, 0, 0, counter.is_exact, counter.method)
    for line, row in rows:
        name = row.get("split", "train")
        split = splits.setdefault(name, SplitTokens(file, name, trained=nothing, prompt=nothing))
        try:
            tokens = counter.count_parts(row)
        except DataError as error:
            raise DataError(str(error), file=file, line=line) from error
        split.add(tokens, line, max_length)
    return list(splits.values())
