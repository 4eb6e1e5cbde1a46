"""What should not stand in rows: invisible characters, keys and tokens, personal data. Values are never repeated.

Every row is scanned, so each search stands behind a test that costs next to nothing: runs of characters that could
be a key or a number are looked for in a copy whose characters are replaced by their class.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple


class Found(NamedTuple):
    """Something that was found in a row."""

    code: str
    what: str
    """Such as `mail address`; never the value."""


_NO_DIGITS = bytes(byte for byte in range(256) if chr(byte) not in "0123456789")
_KEY_CLASS = bytes(
    ord("k") if chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in "_-") else ord(" ") for byte in range(256)
)
_NUMBER_CLASS = bytes(ord("n") if chr(byte) in "0123456789 -().+" else ord(" ") for byte in range(256))
_KEY_RUN, _NUMBER_RUN = b"k" * 16, b"n" * 9
MIN_DIGITS_OF_NUMBER = 8

_SECRETS = {
    "private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY",
    "OpenAI or similar key": rb"\bsk-(?:[A-Za-z]+-)?[A-Za-z0-9_-]{20,}",
    "AWS access key": rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "Google API key": rb"\bAIza[0-9A-Za-z_-]{35}",
    "GitHub token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22,})",
    "Hugging Face token": rb"\bhf_[A-Za-z0-9]{30,}",
    "Slack token": rb"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    "Stripe key": rb"\b[sr]k_live_[A-Za-z0-9]{20,}",
    "JSON web token": rb"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
}
_SECRET = {name: re.compile(pattern) for name, pattern in _SECRETS.items()}
_MAIL = re.compile(rb"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*\.[A-Za-z]{2,24}\b")
_PUBLIC_MAIL = re.compile(rb"@(?:[a-z0-9-]+\.)*example\.(?:com|org|net)\b|\bno-?reply@", re.IGNORECASE)
_PHONE = re.compile(rb"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?(?:\d[ .-]?){6,11}\d|"
                    rb"\(\d{3}\) ?\d{3}-\d{4}|\d{3}-\d{3}-\d{4})(?![\w-])")  # fmt: skip
_CARD = re.compile(rb"(?<![\w.-])(?:\d[ -]?){12,18}\d(?![\w-])")
_CONTROL = re.compile(rb"\\(?:u00[01]|[bf])")
# Zero width space, word joiner, invisible operators, direction overrides, byte order mark. Joiners (U+200C, U+200D)
# are left out: scripts and emoji need them.
_INVISIBLE = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\u00ad\ufffe\uffff]")


def scan(text: bytes) -> list[Found]:
    """Return what a row's canonical bytes hold that should not be there, each kind once."""
    found: list[Found] = []
    if (b"\\" in text and _CONTROL.search(text) and _has_control(text)) or b"\x7f" in text:
        found.append(Found("W106", "control characters"))
    if not text.isascii() and _INVISIBLE.search(text.decode()):
        found.append(Found("W106", "characters of no width"))
    if b"@" in text and any(not _PUBLIC_MAIL.search(each[0]) for each in _MAIL.finditer(text)):
        found.append(Found("W107", "mail address"))
    # A key of twenty random characters without a digit is rare enough to let rows without one pass here.
    if digits := len(text.translate(None, _NO_DIGITS)):
        found += _keys_and_numbers(text, digits)
    return found


def _keys_and_numbers(text: bytes, digits: int) -> Iterator[Found]:
    if _KEY_RUN in text.translate(_KEY_CLASS) or b"-----BEGIN" in text:
        yield from (Found("W107", name) for name, pattern in _SECRET.items() if pattern.search(text))
    if digits >= MIN_DIGITS_OF_NUMBER and _NUMBER_RUN in text.translate(_NUMBER_CLASS):
        if any(_is_card(each[0]) for each in _CARD.finditer(text)):
            yield Found("W107", "card number")
        if _PHONE.search(text):
            yield Found("W107", "phone number")


def _has_control(text: bytes) -> bool:
    """Whether an escape stands for a control character, and not behind a backslash that is escaped itself."""
    return bool(_CONTROL.search(text.replace(b"\\\\", b"")))


def _is_card(number: bytes) -> bool:
    """Whether the check digit is right (Luhn) and the first digit is an issuer's."""
    digits = [digit - 48 for digit in number if 48 <= digit < 58]
    if digits[0] not in (3, 4, 5, 6) or len(set(digits)) < 4:
        return False
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(digits[-1::-2])) % 10 == 0
