"""Tokens of rows for a model behind a service, whose tokenizer and chat template are not at hand."""

import re
from collections.abc import Iterator, Mapping, Sequence
from math import ceil, floor
from typing import Any, NamedTuple

import orjson

from tunebridge.data.counting import proxies
from tunebridge.data.counting.counts import RowTokens, TokenCount
from tunebridge.data.counting.encodings import encoding
from tunebridge.data.targets import CanonicalRow
from tunebridge.errors import DataError

MAX_BLANKS = 500_000
"""White space in one piece beyond which tiktoken's pattern overflows its stack."""


class Frame(NamedTuple):
    """Tokens that a service writes around what the rows say: (low, likely, high) each."""

    turn: tuple[int, int, int]
    """Around each turn, beyond its role and its text."""
    row: tuple[int, int, int] = (3, 3, 3)
    """Once for each row."""
    call: tuple[int, int, int] = (0, 8, 32)
    """Around the name and arguments of a tool call; nobody publishes its form."""


# Exact: the OpenAI cookbook's rule, whose examples give what the API counted (124 tokens for gpt-4o, 129 for gpt-4).
OPENAI_FRAME = Frame(turn=(3, 3, 3))
# Counted on the public templates of Llama 3 (5 with the role), Qwen (5) and Gemma (5).
OTHER_FRAME = Frame(turn=(2, 4, 7), row=(0, 1, 5))
TOOL_FRAME_TOKENS = 12
"""Room for what a service may write around the JSON of a tool's definition."""


class ServiceCounter:
    """Counts for a model behind a service: texts with its encoding or a proxy, turns with the service's frame."""

    def __init__(self, encoding_name: str, *, is_exact: bool, family: str | None = None) -> None:
        self._encoding = encoding(encoding_name)
        self.is_exact = is_exact
        self._family = family
        self._frame = OPENAI_FRAME if is_exact else OTHER_FRAME
        known = family or "any known tokenizer"
        self.method = encoding_name if is_exact else f"{encoding_name} times what was measured for {known} by script"

    def count_text(self, text: str) -> TokenCount:
        """Return the tokens of a text that stands alone; DataError where tiktoken would fail."""
        return self._count_texts([text])

    def count_row(self, row: CanonicalRow) -> TokenCount:
        """Return the tokens of the row: exact for turns of text; tools and tool calls make it an interval."""
        return self.count_parts(row).total

    def count_parts(self, row: CanonicalRow) -> RowTokens:
        """Return the tokens of the answers and those of everything else."""
        counted = [self._sequence(one) for one in _sequences(row)]
        longest = max((trained + prompt for trained, prompt in counted), key=lambda count: count.likely)
        trained, prompt = counted[0]
        for more_trained, more_prompt in counted[1:]:
            trained, prompt = trained + more_trained, prompt + more_prompt
        return RowTokens(trained, prompt, longest, _images(row))

    def _sequence(self, row: CanonicalRow) -> tuple[TokenCount, TokenCount]:
        """Return the tokens of the answers of one sequence and those of everything else."""
        if "text" in row:
            return self.count_text(row["text"]), self._count((0, 0, 0))
        turns = row["messages"]
        answers = [turn for turn in turns if _is_trained(turn)]
        others = [turn for turn in turns if not _is_trained(turn)]
        frames = [self._frame.row, *[self._frame.turn] * len(turns), *[(1, 1, 1) for turn in turns if "name" in turn]]
        labels = [label for turn in turns for label in (turn["role"], turn.get("name")) if label]
        prompt = self._said(others) + self._count_texts(labels)
        for frame in frames:
            prompt += self._count(frame)
        return self._said(answers), prompt + self._tools(row["tools"]) if "tools" in row else prompt

    def _said(self, turns: Sequence[Mapping[str, Any]]) -> TokenCount:
        """Return the tokens of what turns say; those of reasoning may be left out by the service."""
        said = self._count_texts([text for turn in turns for text in _texts(turn)])
        calls = sum(len(turn.get("tool_calls", ())) for turn in turns)
        if calls:
            low, likely, high = self._frame.call
            said += self._guess((low * calls, likely * calls, high * calls))
        thoughts = [turn["reasoning"] for turn in turns if "reasoning" in turn]
        return said + self._guess((0, 0, self._count_texts(thoughts).high)) if thoughts else said

    def _count_texts(self, texts: Sequence[str]) -> TokenCount:
        tokens = sum(len(self._encoding.encode_ordinary(_countable(text))) for text in texts)
        if self.is_exact or not tokens:
            return self._count((tokens, tokens, tokens))
        low, likely, high = (tokens * factor for factor in proxies.ratio("".join(texts), self._family))
        return self._count((max(1, floor(low)), max(1, round(likely)), ceil(high)))

    def _tools(self, tools: Any) -> TokenCount:
        """Return the tokens of tool definitions: at least their words, at most their JSON and a frame each."""
        words = self.count_text("\n".join(_words(tools))).low
        most = self.count_text(orjson.dumps(tools).decode()).high + TOOL_FRAME_TOKENS * len(tools)
        return self._guess((min(words, most), (words + most) // 2, most))

    def _count(self, counts: tuple[int, int, int]) -> TokenCount:
        return TokenCount(*counts, self.is_exact, self.method)

    def _guess(self, counts: tuple[int, int, int]) -> TokenCount:
        return TokenCount(*counts, False, f"{self.method}; tools and reasoning are estimated")


def _sequences(row: CanonicalRow) -> Iterator[CanonicalRow]:
    """Yield the sequences that a row is trained as: itself, or each answer of a preference behind its prompt."""
    if "preferred" not in row:
        yield {key: row[key] for key in ("messages", "text", "tools") if key in row}
        return
    prompt = [{**turn, "weight": 0} if turn["role"] == "assistant" else turn for turn in row["messages"]]
    for answer in (row["preferred"], row["rejected"]):
        yield {**({"tools": row["tools"]} if "tools" in row else {}), "messages": [*prompt, *answer]}


def _is_trained(turn: Mapping[str, Any]) -> bool:
    return bool(turn["role"] == "assistant" and turn.get("weight") != 0)


def _texts(turn: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a turn says: its text, and the names and arguments of its tool calls."""
    content = turn.get("content") or ()
    if isinstance(content, str):
        yield content
    else:
        yield from (part["text"] for part in content if part.get("type") == "text")
    for call in turn.get("tool_calls", ()):
        yield from (call["function"]["name"], call["function"]["arguments"])


def _countable(text: str) -> str:
    """Return a text that tiktoken can take; DataError otherwise."""
    if len(text) > MAX_BLANKS and re.search(rf"\s{{{MAX_BLANKS}}}", text):
        raise DataError(f"a text has more than {MAX_BLANKS:,} blanks in one piece. Shorten it.")
    return text


def _images(row: CanonicalRow) -> int:
    turns = [turn for key in ("messages", "preferred", "rejected") for turn in row.get(key, ())]
    parts = [part for turn in turns if isinstance(turn.get("content"), list) for part in turn["content"]]
    return sum(part.get("type") != "text" for part in parts)


def _words(value: Any) -> Iterator[str]:
    """Yield the texts of a tool definition that a model has to see: names and descriptions."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "properties" and isinstance(inner, dict):
                yield from inner
            yield from _words(inner) if not isinstance(inner, str) or key in ("name", "description") else ()
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _words(inner)
    elif isinstance(value, str):
        yield value
