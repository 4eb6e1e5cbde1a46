"""What a row asks and answers, and the digests by which rows are found again."""

from array import array
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple
from zlib import crc32

from tunebridge.data.canonical import canonical_bytes
from tunebridge.data.targets import CanonicalRow

SEEN = frozenset({"messages", "text", "tools", "preferred", "rejected", "label"})
"""Keys of a row that a model sees; rows that differ in others only are nearly the same."""
_BEFORE_TURNS = len(b'{"messages":')
_TURN = b'{"content":"'
_AROUND_ANSWER = len(_TURN + b'","role":"assistant"}]}')


def asked_and_answer(row: CanonicalRow) -> tuple[bytes, bytes]:
    """Return the canonical bytes of what stands before a row's last answer, and of that; empty where there is none."""
    if "text" in row:
        return canonical_bytes(row["text"]), b""
    messages = row["messages"]
    if "preferred" in row or not messages or messages[-1]["role"] != "assistant":
        return canonical_bytes(messages), b""
    return canonical_bytes(messages[:-1] or None), canonical_bytes(messages[-1])


def plain_asked_and_answer(row: CanonicalRow, text: bytes, roles: tuple[str, ...]) -> tuple[bytes, bytes]:
    """Return the same of a row of plain turns (`canonical.plain_roles`); `text` is the row's canonical bytes."""
    if roles[-1] != "assistant":
        return text[_BEFORE_TURNS:-1], b""
    # The last turn begins where its text without escapes would put it: no string holds these bytes, as its quotes are
    # escaped, and an escape would make the turn begin earlier.
    begin = len(text) - len(row["messages"][-1]["content"]) - _AROUND_ANSWER
    if len(roles) > 1 and text.startswith(_TURN, begin):
        return text[_BEFORE_TURNS : begin - 1] + b"]", text[begin:-2]
    return asked_and_answer(row)


def seen_of(row: CanonicalRow, text: bytes) -> bytes:
    """Return what a model sees of a row: itself, without an id, metadata and the like."""
    return text if row.keys() <= SEEN else canonical_bytes({key: row[key] for key in row.keys() & SEEN})


class Digests(NamedTuple):
    """Columns of numbers of 64 bits that stand for rows, one for each."""

    near: "array[int]"
    """The same for rows that differ only in case, spaces, punctuation, or what is not seen."""
    exact: "array[int]"
    """The same for rows that are the same."""
    asked: "array[int]"
    """The same for rows that ask the same."""
    answers: "array[int]"
    """Differs for rows that ask the same and are answered differently; 0: no answer."""


def sum_of(answer: bytes) -> int:
    """Return a number of 33 bits that stands for an answer; 0 where there is none."""
    return 1 << 32 | crc32(answer) if answer else 0


def digest_rows(seen: Sequence[bytes], asked: Sequence[bytes], sums: Sequence[int], more: Sequence[bytes]) -> Digests:
    """Return the digests of rows, in columns.

    `seen` is what `seen_of` returns, `asked` the SHA-256 of what is asked, `sums` are the answers' (`sum_of`), and
    `more` is the whole row where it is more than what is asked and answered.
    """
    near = _first_bytes([sha256(text).digest() for text in normal(seen)])
    keys = _first_bytes(asked)
    # Rows are compared by a sum of 32 bits only where what they ask has the same digest.
    exact = [
        key ^ total << 31 ^ (crc32(text) if text else 0) for key, total, text in zip(keys, sums, more, strict=True)
    ]
    return Digests(near, array("Q", exact), keys, array("Q", sums))


def _first_bytes(digests: Sequence[bytes]) -> "array[int]":
    """Return the first 8 of each digest's 32 bytes as a number."""
    return array("Q", b"".join(digests))[::4]


_FOLD = bytes(byte + 32 if 65 <= byte <= 90 else byte for byte in range(256))
_IGNORED = b" \t,;:!?'`\"\\()[]{}"


def normal(texts: Sequence[bytes]) -> list[bytes]:
    """Return texts without the difference of upper and lower case, spaces and most punctuation."""
    plain = [text if b"\\" not in text and text.isascii() else _folded(text) for text in texts]
    # One pass over many rows: between them are line feeds, which no row in canonical form has inside.
    return b"\n".join(plain).translate(_FOLD, _IGNORED).split(b"\n") if texts else []


def _folded(text: bytes) -> bytes:
    text = text.replace(b"\\n", b" ")
    return text if text.isascii() else "".join(text.decode().casefold().split()).encode()
