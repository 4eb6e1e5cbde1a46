"""How many tokens each row of a split has, from which totals under any limit follow."""

from array import array
from dataclasses import dataclass

from tunebridge.cost.interval import Interval
from tunebridge.data.counting.counts import TokenCounter
from tunebridge.data.dataset import Dataset, Split


@dataclass(frozen=True)
class RowLengths:
    """The tokens of each row: at least, likely, at most."""

    low: "array[int]"
    likely: "array[int]"
    high: "array[int]"
    method: str
    """How they were counted, for people."""
    sequences: int = 1
    """Sequences that each row is trained as: two for a preference, whose question is read twice."""
    images: int = 0
    """Images in the rows; what they cost is in no count."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.likely)

    @property
    def is_exact(self) -> bool:
        """Whether the model's own tokenizer counted."""
        return self.low == self.high

    def total(self, max_length: int | None = None) -> Interval:
        """Return the tokens of all rows; those of a row beyond `max_length` are not trained on."""
        low, likely, high = (self._sum(counts, max_length) for counts in (self.low, self.likely, self.high))
        return Interval(low=low, likely=likely, high=high)

    def longer_than(self, max_length: int) -> int:
        """Return how many rows are likely longer than `max_length`."""
        return sum(count > max_length * self.sequences for count in self.likely)

    def longest(self, max_length: int | None = None) -> int:
        """Return the tokens of the longest sequence, at most."""
        most = -(-max(self.high, default=0) // self.sequences)
        return most if max_length is None else min(most, max_length)

    def attended(self, max_length: int | None = None) -> float:
        """Return the length over which attention looks, averaged over tokens."""
        most = None if max_length is None else max_length * self.sequences
        counts = [count if most is None else min(count, most) for count in self.likely]
        return sum(count * count for count in counts) / max(1, sum(counts)) / self.sequences

    def _sum(self, counts: "array[int]", max_length: int | None) -> int:
        if max_length is None:
            return sum(counts)
        limit = max_length * self.sequences
        return sum(min(count, limit) for count in counts)


def count_split(split: Split, counter: TokenCounter) -> RowLengths:
    """Count a split row by row; DataError where the counter cannot take a row."""
    low, likely, high, images = array("I"), array("I"), array("I"), 0
    sequences = 2 if "preference" in split.kinds else 1
    for row in split.rows():
        parts = counter.count_parts(row)
        images += parts.images
        low.append(parts.total.low)
        likely.append(parts.total.likely)
        high.append(parts.total.high)
    return RowLengths(low, likely, high, counter.method, sequences, images)


def count_dataset(dataset: Dataset, counter: TokenCounter) -> tuple[RowLengths, RowLengths | None]:
    """Return the lengths of the training rows and of the held-out rows, where there are any."""
    held_out = count_split(dataset.validation, counter) if dataset.validation else None
    return count_split(dataset.train, counter), held_out
