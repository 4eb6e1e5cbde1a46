"""Named ways to make answers comparable, which may be chained: `nfkc+casefold+strip`."""

import re
import string
import unicodedata
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

from tunebridge.errors import EvaluationError
from tunebridge.evaluation.names import nearest

Normaliser = Callable[[str], str]

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?")


def squad(text: str) -> str:
    """Return text as SQuAD's script compares it: lower case, no ASCII punctuation, no English article."""
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def number(text: str) -> str:
    """Return the last number in the text in one spelling (`1,000.50` is `1000.5`), or the stripped text without one."""
    found = _NUMBER.findall(text)
    if not found:
        return text.strip()
    try:
        return format(Decimal(found[-1].replace(",", "")).normalize(), "f")
    except (InvalidOperation, OverflowError):
        return str(found[-1])


def without_punctuation(text: str) -> str:
    """Return text without what Unicode calls punctuation, in any script."""
    return "".join(c for c in text if not unicodedata.category(c).startswith("P"))


NORMALISERS: dict[str, Normaliser] = {
    "none": lambda text: text,
    "strip": str.strip,
    "casefold": str.casefold,
    "spaces": lambda text: " ".join(text.split()),
    "nfkc": lambda text: unicodedata.normalize("NFKC", text),
    "punctuation": without_punctuation,
    "squad": squad,
    "number": number,
}


def normaliser(names: str) -> Normaliser:
    """Return the normaliser of that name, or several joined by `+`, applied from left to right."""
    steps = [_named(name.strip()) for name in names.split("+")]

    def apply(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    return apply


def _named(name: str) -> Normaliser:
    if name not in NORMALISERS:
        raise EvaluationError(nearest("normaliser", name, NORMALISERS))
    return NORMALISERS[name]
