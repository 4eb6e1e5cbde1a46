"""ROUGE-L that works in every script, and gives what rouge-score gives on Latin script."""

import re
import unicodedata

from tunebridge.errors import EvaluationError
from tunebridge.evaluation.metrics.row import Metric, best

_ASCII_WORD = re.compile(r"[a-z0-9]+")
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "BOPOMOFO", "YI", "JAVANESE")
"""First words of the Unicode names of characters whose scripts put no spaces between words."""


def rouge_l(*, tokens: str = "auto") -> Metric:
    """Return the F-measure of the longest common subsequence of tokens (Lin 2004).

    `tokens="auto"` cuts Latin text as rouge-score does, which breaks words at accents, and all other text as
    `tokens="unicode"`: whole words in any script with spaces, characters in those without (Japanese, Thai ...).
    """
    if tokens not in ("auto", "unicode"):
        raise EvaluationError(f"rouge_l has no tokens {tokens!r}. Choose 'auto' or 'unicode'.")

    def score(output: str, answer: str) -> float:
        is_ascii_cut = tokens == "auto" and _is_latin(output) and _is_latin(answer)
        cut = _ASCII_WORD.findall if is_ascii_cut else unicode_tokens
        said, right = cut(output.lower()), cut(answer.lower())
        return 2 * common_length(said, right) / (len(said) + len(right)) if said and right else 0.0

    return Metric("rouge_l", best(score))


def _is_latin(text: str) -> bool:
    """Tell whether no letter is of another script, and some is ASCII if there is any."""
    letters = [c for c in text if c.isalpha()] if not text.isascii() else []
    foreign = any(not unicodedata.name(c, "").startswith("LATIN") for c in set(letters))
    return not foreign and (not letters or any(map(str.isascii, letters)))


def unicode_tokens(text: str) -> list[str]:
    """Return words of letters, marks and digits; in scripts without spaces each character with its marks."""
    found: list[str] = []
    is_open = False
    for character in unicodedata.normalize("NFKC", text):
        kind = unicodedata.category(character)[0]
        if kind == "M" and found and is_open is not None:
            found[-1] += character
        elif kind not in "LNM":
            is_open = False
        elif unicodedata.name(character, "").startswith(_UNSPACED):
            found.append(character)
            is_open = False
        elif is_open:
            found[-1] += character
        else:
            found.append(character)
            is_open = True
    return found


def common_length(left: list[str], right: list[str]) -> int:
    """Return the length of the longest common subsequence, a machine word of rows at a time (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, token in enumerate(left):
        places[token] = places.get(token, 0) | 1 << place
    full = (1 << len(left)) - 1
    unmatched = full
    for token in right:
        hit = unmatched & places.get(token, 0)
        unmatched = ((unmatched + hit) | (unmatched - hit)) & full
    return len(left) - unmatched.bit_count()
