"""Whether the model called the right tools with the right arguments."""

import re
from collections.abc import Iterable
from typing import Any

from tunebridge.errors import EvaluationError
from tunebridge.evaluation.metrics.row import Metric, MetricRow
from tunebridge.evaluation.metrics.structured import MISSING, parse, same

_TAGGED = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)

Call = tuple[str, Any]
"""Name and arguments."""


def tool_calls(*, arguments: bool = True, ordered: bool = False) -> Metric:
    """Return 1 where the answer calls exactly the expected tools, each with equal arguments.

    The answer is JSON (one call, a list, or a message with `tool_calls`, in OpenAI's shape or as `{"name",
    "arguments"}`) or text with `<tool_call>` tags. `arguments=False` compares names only; `ordered` their order too.
    """

    def score(output: str, row: MetricRow) -> float:
        if row.expected_tool_calls is None:
            raise EvaluationError("A row says of no tool calls. Add `expected_tool_calls`, empty where none is right.")
        wanted = [_call(entry) for entry in row.expected_tool_calls]
        if None in wanted:
            raise EvaluationError("An expected tool call has no name. Write it as {'name': ..., 'arguments': {...}}.")
        said = read_calls(output)
        return float(said is not None and _match(said, [w for w in wanted if w], arguments=arguments, ordered=ordered))

    return Metric("tool_calls", score, is_binary=True)


def read_calls(output: str) -> list[Call] | None:
    """Return the calls in an answer, none for plain text, None where a call is malformed."""
    tagged = _TAGGED.findall(output)
    if tagged:
        return _all(_call(parse(text)) for text in tagged)
    value = parse(output, fenced=True)
    if isinstance(value, dict) and "tool_calls" in value:
        value = value["tool_calls"] or []
    if isinstance(value, dict) and ("function" in value or "name" in value):
        value = [value]
    return _all(map(_call, value)) if isinstance(value, list) else []


def _all(calls: Iterable[Call | None]) -> list[Call] | None:
    found = list(calls)
    return None if None in found else [call for call in found if call is not None]


def _call(entry: Any) -> Call | None:
    if not isinstance(entry, dict):
        return None
    function = entry.get("function", entry)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return None
    given = function.get("arguments", function.get("parameters", {}))
    if isinstance(given, str):
        given = parse(given) if given.strip() else {}
    return None if given is MISSING else (function["name"], given)


def _match(said: list[Call], wanted: list[Call], *, arguments: bool, ordered: bool) -> bool:
    def equal(left: Call, right: Call) -> bool:
        return left[0] == right[0] and (not arguments or same(left[1], right[1]))

    left = list(said)
    for call in wanted:
        place = next((n for n, other in enumerate(left[:1] if ordered else left) if equal(call, other)), None)
        if place is None:
            return False
        del left[place]
    return not left
