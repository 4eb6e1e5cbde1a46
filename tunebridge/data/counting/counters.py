"""The most exact counter of tokens for a model that works on this machine, without a download."""

import re
from pathlib import Path
from typing import Any

from tunebridge.data.counting import proxies
from tunebridge.data.counting.counts import RowTokens, TokenCount, TokenCounter
from tunebridge.data.counting.service import ServiceCounter
from tunebridge.data.rendering.process import Renderer
from tunebridge.data.targets import CanonicalRow
from tunebridge.training.config import NANO, RANDOM


def counter_for(model: str) -> TokenCounter:
    """Return the most exact counter for a model that works here without a download.

    A model folder or `tunebridge/nano` brings its own tokenizer; OpenAI's models have an encoding that is shipped; for
    any other the counts are intervals. MissingDependency when tiktoken, or transformers for a folder, is not installed.
    """
    if is_at_hand(model):
        return TemplateCounter(Renderer(model))
    name = encoding_name(model)
    return ServiceCounter(name or proxies.PROXY, is_exact=name is not None, family=family_of(model))


def is_at_hand(model: str) -> bool:
    """Whether a model's own tokenizer lies on this machine."""
    return model in (NANO, RANDOM) or Path(model).expanduser().is_dir()


def encoding_name(model: str) -> str | None:
    """Return the encoding of one of OpenAI's models, tuned ones and Azure's spellings included; None for others."""
    short = _short(model.removeprefix("ft:"))
    known = proxies.table()["encodings"].items()
    return next((name for name, pattern in known if re.fullmatch(rf"(?:{pattern})(?:[-:].*)?", short)), None)


def family_of(model: str) -> str | None:
    """Return the family of tokenizers that was measured and that a model belongs to by its name; None when unknown."""
    families: dict[str, Any] = proxies.table()["families"]
    return next(
        (name for name, known in families.items() if any(part in _short(model) for part in known["names"])), None
    )


class TemplateCounter:
    """Counts with a model's own tokenizer and chat template, as the trainer does, in a process beside this one."""

    is_exact = True

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self.method = f"the tokenizer and chat template of {renderer.model}"

    def count_text(self, text: str) -> TokenCount:
        """Return the tokens of a text that stands alone, without any that mark its beginning or end."""
        return self._exact(self._renderer.count_text(text))

    def count_row(self, row: CanonicalRow) -> TokenCount:
        """Return the tokens of the rendered row; DataError when the template refuses it."""
        return self.count_parts(row).total

    def count_parts(self, row: CanonicalRow) -> RowTokens:
        """Return the trained tokens and the others of the rendered row."""
        counts = self._renderer.count_row(row)
        trained = sum(trained for trained, _ in counts)
        every = sum(tokens for _, tokens in counts)
        longest = max(tokens for _, tokens in counts)
        return RowTokens(self._exact(trained), self._exact(every - trained), self._exact(longest))

    def _exact(self, tokens: int) -> TokenCount:
        return TokenCount(tokens, tokens, tokens, True, self.method)


def _short(model: str) -> str:
    """Return a model's name without the owner before a slash."""
    return model.lower().rsplit("/", 1)[-1]
