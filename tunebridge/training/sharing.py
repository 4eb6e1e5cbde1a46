"""Beginnings that rows have in common, such as a system prompt or a preference's question: computed once, exactly.

Rows are cut into pieces that form a tree. A piece lies once in the flat sequence, and attention lets its tokens see
the pieces before it on the way from the root: the scores are those of the whole row, and the gradients add up.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MIN_SHARED_TOKENS = 16
"""A shorter common beginning is not worth a piece of its own."""


@dataclass(frozen=True)
class Piece:
    """A stretch of one or more rows' tokens that lies once in the flat sequence."""

    start: int
    """Place of its first token in the flat sequence."""
    length: int
    before: tuple["Piece", ...] = ()
    """The pieces that precede it in the row, from the row's beginning."""

    @property
    def offset(self) -> int:
        """Tokens of the row before this piece."""
        return sum(piece.length for piece in self.before)


@dataclass(frozen=True)
class Shared:
    """Rows laid into one flat sequence with their common beginnings once."""

    pieces: tuple[Piece, ...]
    paths: tuple[tuple[Piece, ...], ...]
    """The pieces of each row, in the order in which the rows were given."""


def share(rows: Sequence[list[int]]) -> Shared:
    """Cut rows of token ids into pieces; pieces are numbered from place 0 on, each behind the one made before it."""
    order = sorted(range(len(rows)), key=lambda number: rows[number])
    common = [_common(rows[a], rows[b]) for a, b in zip(order, order[1:], strict=False)]
    pieces: list[Piece] = []
    paths: list[tuple[Piece, ...]] = [()] * len(rows)

    def cut(first: int, last: int, path: tuple[Piece, ...]) -> None:
        """Lay the rows `order[first:last]`, of which `path` is already laid."""
        done = sum(piece.length for piece in path)
        shared = min(common[first : last - 1], default=len(rows[order[first]]))
        if shared - done >= MIN_SHARED_TOKENS or last - first == 1:
            if shared > done:
                path = (*path, _add(pieces, shared - done, path))
                done = shared
            if last - first == 1 or all(len(rows[number]) == done for number in order[first:last]):
                for number in order[first:last]:
                    paths[number] = path
                return
        for begin, end in _runs(common, first, last, done + MIN_SHARED_TOKENS):
            cut(begin, end, path)

    if rows:
        cut(0, len(rows), ())
    return Shared(tuple(pieces), tuple(paths))


def apart(lengths: Sequence[int]) -> Shared:
    """Lay rows one after the other in their order, none sharing anything."""
    pieces: list[Piece] = []
    for length in lengths:
        _add(pieces, length, ())
    return Shared(tuple(pieces), tuple((piece,) for piece in pieces))


def _add(pieces: list[Piece], length: int, before: tuple[Piece, ...]) -> Piece:
    start = pieces[-1].start + pieces[-1].length if pieces else 0
    pieces.append(Piece(start, length, before))
    return pieces[-1]


def _runs(common: Sequence[int], first: int, last: int, enough: int) -> Iterator[tuple[int, int]]:
    """Yield stretches of neighbouring rows that have at least `enough` tokens in common."""
    begin = first
    for place in range(first, last - 1):
        if common[place] < enough:
            yield begin, place + 1
            begin = place + 1
    yield begin, last


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two rows begin with in common, by halving."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
