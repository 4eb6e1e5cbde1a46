"""What should not stand in rows: invisible characters, keys and tokens, personal data. Values are never repeated.

Every row is scanned, and nearly none holds any of it. So a row is looked at closely only where a byte that one of
these things always has stands beside what it has there.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Found(NamedTuple):
    """Something that was found in a row."""

    code: str
    what: str
    """Such as `mail address`; never the value."""


_SIGNS = {
    "\\": rb"\\(?:u00[01]|[bf])",
    "\x7f": rb"\x7f",
    # In UTF-8, what _INVISIBLE has as characters.
    "\xc2": rb"\xc2\xad",
    "\xe2": rb"\xe2(?:\x80[\x8b\x8e\x8f\xaa-\xae]|\x81[\xa0-\xa4\xa6-\xa9])",
    "\xef": rb"\xef(?:\xbb\xbf|\xbf[\xbe\xbf])",
    "@": rb"@[A-Za-z0-9]",
    "_": rb"_[A-Za-z0-9_]{20}",
    "-": rb"-(?:(?<=k-)[A-Za-z0-9_-]{20}|(?<=xox[abprs]-)[A-Za-z0-9-]{10}|(?<=\d{3}-)\d{3}|----BEGIN )",
    "A": rb"A(?:KIA|SIA|Iza)",
    "J": rb"J(?<=eyJ)[A-Za-z0-9_-]{10}",
    "+": rb"\+\d",
    **{issuer: issuer.encode() + rb"(?:[ -]?\d){12}" for issuer in "3456"},
}
"""A byte that rows are searched for -> the search that says whether the row has to be looked at closely."""
_SIGN = {ord(byte): re.compile(pattern).search for byte, pattern in _SIGNS.items()}
_OTHERS = bytes(byte for byte in range(256) if byte not in _SIGN and byte != ord("\n"))

_SECRETS = {
    "private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY",
    "OpenAI or similar key": rb"\bsk-(?=[A-Za-z_-]*\d)(?:[A-Za-z]+-)?[A-Za-z0-9_-]{20,}",
    "AWS access key": rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "Google API key": rb"\bAIza[0-9A-Za-z_-]{35}",
    "GitHub token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22,})",
    "Hugging Face token": rb"\bhf_[A-Za-z0-9]{30,}",
    "Slack token": rb"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    "Stripe key": rb"\b[sr]k_live_[A-Za-z0-9]{20,}",
    "JSON web token": rb"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
}
_SECRET = {name: re.compile(pattern) for name, pattern in _SECRETS.items()}
# Not in a path, where lists and packages have names like addresses.
_MAIL = re.compile(
    rb"(?<![\w./@%+-])[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*\.[A-Za-z]{2,24}\b"
)
_PUBLIC_MAIL = re.compile(rb"@(?:[a-z0-9-]+\.)*example\.(?:com|org|net)\b|\bno-?reply@", re.IGNORECASE)
_PHONE = re.compile(rb"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?(?:\d[ .-]?){6,11}\d|"
                    rb"\(\d{3}\) ?\d{3}-\d{4}|\d{3}-\d{3}-\d{4})(?![\w-])")  # fmt: skip
_CARD = re.compile(rb"(?<![\w.-])(?:\d[ -]?){12,18}\d(?![\w-])")
_CONTROL = re.compile(rb"\\(?:u00[01]|[bf])|\x7f")
_SPACE = re.compile(rb"\\[nrt]")
# Zero width space, word joiner, invisible operators, direction overrides, byte order mark. Joiners (U+200C, U+200D)
# are left out: scripts and emoji need them.
_INVISIBLE = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\u00ad\ufffe\uffff]")


def scan_rows(texts: Sequence[bytes]) -> Iterator[tuple[int, Found]]:
    """Yield (number of the row, what its canonical bytes hold that should not be there), each kind once."""
    # One pass over all rows: between them are line feeds, which no row in canonical form has inside.
    signs = b"\n".join(texts).translate(None, _OTHERS).split(b"\n")
    for number, found in enumerate(signs):
        if found and any(_SIGN[byte](texts[number]) for byte in {*found}):
            yield from ((number, each) for each in scan(texts[number]))


def scan(text: bytes) -> Iterator[Found]:
    """Yield what a row's canonical bytes hold that should not be there, each kind once."""
    # A backslash that is escaped itself begins no escape; what follows an escaped line break begins a word.
    text = text.replace(b"\\\\", b"  ")
    if _CONTROL.search(text):
        yield Found("W106", "control characters")
    text = _SPACE.sub(b" ", text)
    if not text.isascii() and _INVISIBLE.search(text.decode()):
        yield Found("W106", "characters of no width")
    if any(not _PUBLIC_MAIL.search(each[0]) for each in _MAIL.finditer(text)):
        yield Found("W107", "mail address")
    yield from (Found("W107", name) for name, pattern in _SECRET.items() if pattern.search(text))
    if any(_is_card(each[0]) for each in _CARD.finditer(text)):
        yield Found("W107", "card number")
    if _PHONE.search(text):
        yield Found("W107", "phone number")


def _is_card(number: bytes) -> bool:
    """Whether the check digit is right (Luhn) and the first digit is an issuer's."""
    digits = [digit - 48 for digit in number if 48 <= digit < 58]
    if digits[0] not in (3, 4, 5, 6) or len(set(digits)) < 4:
        return False
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(digits[-1::-2])) % 10 == 0
