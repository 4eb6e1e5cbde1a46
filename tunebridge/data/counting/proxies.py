"""How many tokens a tokenizer that is not at hand would make: o200k_base times what was measured for each script."""

import tomllib
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

PROXY = "o200k_base"
MARGIN = 0.2
"""Share by which a ratio was seen to differ between languages of one script, such as Russian and Kazakh."""
UNMEASURED = (0.75, 5.7)
"""For scripts that are not in the table: the ends of what was measured on 20 of them, Gujarati the highest."""


class Ratio(NamedTuple):
    """Tokens of a family for one token of the proxy."""

    low: float
    likely: float
    high: float


@cache
def table() -> dict[str, Any]:
    """Return the measured figures of `tokenizers.toml`, with their date."""
    return tomllib.loads(files("tunebridge.data.counting").joinpath("tokenizers.toml").read_text(encoding="utf-8"))


def ratio(text: str, family: str | None) -> Ratio:
    """Return a family's tokens for one of the proxy's on this text, weighted by its scripts; None: any family."""
    weights = _weights(text)
    total = sum(weights.values())
    if not total:
        return script_ratio("LATIN", family)
    parts = [(weight / total, script_ratio(script, family)) for script, weight in weights.items()]
    return Ratio(*(sum(share * part[place] for share, part in parts) for place in range(3)))


@cache
def script_ratio(script: str, family: str | None) -> Ratio:
    """Return a family's tokens for one of the proxy's in a script; without a family what spans all of them."""
    families = table()["families"]
    if family is None:
        return _span(script_ratio(script, known) for known in families)
    if script not in table()["scripts"]:
        low, high = UNMEASURED
        return Ratio(low, (low * high) ** 0.5, high)
    theirs, proxy = table()["characters_per_token"][family], table()["characters_per_token"][PROXY]
    measured = [proxy[language] / theirs[language] for language in table()["scripts"][script]]
    low, high = families[family]["interval"]
    return Ratio(
        low=min(low, min(measured) * (1 - MARGIN)),
        likely=sum(measured) / len(measured),
        high=max(high, max(measured) * (1 + MARGIN)),
    )


def _span(ratios: Iterable[Ratio]) -> Ratio:
    every = list(ratios)
    likely = sum(one.likely for one in every) / len(every)
    return Ratio(min(one.low for one in every), likely, max(one.high for one in every))


def _weights(text: str) -> dict[str, float]:
    """Return about how many of the proxy's tokens fall to each script."""
    weights: dict[str, float] = {}
    for character, count in Counter(text).items():
        script, tokens = _script(character)
        weights[script] = weights.get(script, 0.0) + count * tokens
    return weights


@cache
def _script(character: str) -> tuple[str, float]:
    """Return a character's script and how many of the proxy's tokens it makes on average."""
    scripts = table()["scripts"]
    if character.isspace():
        name = "LATIN"
    elif unicodedata.category(character)[0] not in "LM":
        name = "SYMBOLS"
    else:
        name = unicodedata.name(character, "OTHER").split()[0]
    languages = scripts.get(name)
    known = table()["characters_per_token"][PROXY]
    rates = [known[language] for language in languages] if languages else [min(known.values())]
    return name, len(rates) / sum(rates)
