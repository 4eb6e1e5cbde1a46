"""A row's bytes in parts: what is asked, what is answered, and the digests by which rows are found again."""

import hashlib
from typing import NamedTuple

from tunebridge.data.canonical import canonical_bytes
from tunebridge.data.targets import CanonicalRow

DIGEST_BYTES = 8
NO_ANSWER = bytes(DIGEST_BYTES)


class Parts(NamedTuple):
    """A canonical row as bytes, whole and in parts."""

    text: bytes
    """The row's canonical bytes."""
    asked: bytes
    """What stands before the last answer."""
    answer: bytes
    """The last answer of a conversation; empty where there is none."""
    more: bytes
    """What else a model sees of the row: tools, a label, the two answers of a preference."""
    is_whole: bool
    """Whether what is asked and answered makes up the row; otherwise it has an id, metadata or more."""

    def digests(self, asked_digest: bytes, *, has_answer: bool) -> bytes:
        """Return four digests of 8 bytes: of the normalised row, the row, what is asked, the answer (0: none)."""
        near = hashlib.sha256(normal(self.asked + self.answer + self.more)).digest()[:8]
        answer = hashlib.sha256(self.answer).digest() if self.answer else NO_ANSWER
        exact = asked_digest[:4] + answer[:4] if self.is_whole else hashlib.sha256(self.text).digest()[:8]
        return near + exact + asked_digest[:8] + (answer[:8] if has_answer else NO_ANSWER)


def parts_of(row: CanonicalRow) -> Parts:
    """Return a row's parts."""
    if "messages" in row and len(row) == 1 and len(row["messages"]) > 1:
        messages = row["messages"]
        asked, answer = canonical_bytes(messages[:-1]), canonical_bytes(messages[-1])
        text = b'{"messages":' + asked[:-1] + b"," + answer + b"]}"
        if messages[-1]["role"] != "assistant":
            asked, answer = text[12:-1], b""
        return Parts(text, asked, answer, b"", is_whole=True)
    return _odd_parts(row, canonical_bytes(row))


def _odd_parts(row: CanonicalRow, text: bytes) -> Parts:
    if "text" in row:
        asked, answer, more = canonical_bytes(row["text"]), b"", b""
    elif "preferred" in row:
        asked, answer = canonical_bytes(row["messages"]), b""
        more = canonical_bytes([row["preferred"], row["rejected"]])
    else:
        messages = row["messages"]
        is_answered = bool(messages) and messages[-1]["role"] == "assistant"
        asked = canonical_bytes((messages[:-1] or None) if is_answered else messages)
        answer = canonical_bytes(messages[-1]) if is_answered else b""
        seen = {key: row[key] for key in ("tools", "label") if key in row}
        more = canonical_bytes(seen) if seen else b""
    return Parts(text, asked, answer, more, is_whole=False)


_FOLD = bytes(byte + 32 if 65 <= byte <= 90 else byte for byte in range(256))
_IGNORED = b" \t,;:!?'`\"\\()[]{}"


def normal(text: bytes) -> bytes:
    """Return a text without the difference of upper and lower case, spaces and most punctuation."""
    if b"\\" in text and b"\\n" in text:
        text = text.replace(b"\\n", b" ")
    if not text.isascii():
        text = "".join(text.decode().casefold().split()).encode()
    return text.translate(_FOLD, _IGNORED)
