"""Canonical rows -> Vertex AI's rows: Gemini tuning, Gemini preference tuning, open models."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from tunebridge.data.shapes import chat
from tunebridge.data.shapes.calls import functions, parse_object
from tunebridge.data.shapes.carries import Carries, Turn
from tunebridge.data.shapes.content import image_type, text_of
from tunebridge.data.shapes.limits import load_limits
from tunebridge.data.shapes.notes import Notes, Rows, Shape
from tunebridge.data.shapes.order import require_last
from tunebridge.data.shapes.turns import carried_answers, carried_keys, carried_turns
from tunebridge.data.targets import CanonicalRow, Target
from tunebridge_vertexai.schema import gemini_schema

GEMINI = Carries(
    keys=frozenset({"tools"}),
    tools=None,
    call_ids="L-call-ids",
    arguments="object",
    images=frozenset({"gs"}),
    image_types=frozenset({"image/png", "image/jpeg", "image/webp"}),
    parts=None,
)
GEMINI_PREFERENCE = Carries(parts=None)
OPEN_MODELS = Carries(empty_turn=None)

ROLES = {"user": "user", "assistant": "model"}

Part = dict[str, Any]


def gemini_sft(row: CanonicalRow, notes: Notes) -> Rows:
    """Build `{"systemInstruction", "contents": [...], "tools"}` that ends with the model's turn."""
    kept = carried_keys(row, GEMINI, notes)
    turns = carried_turns(row["messages"], GEMINI, notes)
    require_last(turns, ("assistant",), notes)
    system, contents = _contents(turns, notes)
    built: dict[str, Any] = {"systemInstruction": system} if system else {}
    built["contents"] = contents
    if "tools" in kept:
        built["tools"] = [{"functionDeclarations": _declarations(kept["tools"], notes)}]
    return (built,)


def gemini_preference(row: CanonicalRow, notes: Notes) -> Rows:
    """Build `{"system_instruction", "contents", "completions"}`: the preferred answer scores 1, the other 0."""
    carried_keys(row, GEMINI_PREFERENCE, notes)
    turns = carried_turns(row["messages"], GEMINI_PREFERENCE, notes, trained=False)
    require_last(turns, ("user",), notes)
    system, contents = _contents(turns, notes)
    built: dict[str, Any] = {"system_instruction": system} if system else {}
    completions = [
        {"score": score, "completion": {"role": "model", "parts": _parts(answer)}}
        for score, (answer,) in zip((1, 0), carried_answers(row, GEMINI_PREFERENCE, notes), strict=True)
    ]
    return ({**built, "contents": contents, "completions": completions},)


def _contents(turns: Sequence[Turn], notes: Notes) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """Return the system instruction and the contents; results of parallel calls share one content, in the calls' order.

    Contents know no ids: without that order a result would be taken for another call's.
    """
    system, contents = None, []
    called: dict[str, tuple[int, str]] = {}
    results: list[tuple[int, Part]] = []
    for turn in turns:
        role = turn["role"]
        if role == "tool":
            results.append(_result(turn, called, notes))
            continue
        if results:
            contents.append(_results(results))
            results = []
        if role == "system":
            system = {"role": "system", "parts": _parts(turn)}
            continue
        contents.append({"role": ROLES[role], "parts": _parts(turn)})
        for call in turn.get("tool_calls", ()):
            called[call["id"]] = (len(called), call["function"]["name"])
    return system, [*contents, _results(results)] if results else contents


def _parts(turn: Turn) -> list[Part]:
    content = turn.get("content")
    if content.__class__ is str:
        parts: list[Part] = [{"text": content}]
    else:
        parts = [_file(part) if "image_url" in part else {"text": part["text"]} for part in content or ()]
    if "tool_calls" in turn:
        calls = (call["function"] for call in turn["tool_calls"])
        parts += [{"functionCall": {"name": call["name"], "args": call["arguments"]}} for call in calls]
    return parts


def _file(part: dict[str, Any]) -> Part:
    address = part["image_url"]["url"]
    return {"fileData": {"mimeType": image_type(address), "fileUri": address}}


def _result(turn: Turn, called: dict[str, tuple[int, str]], notes: Notes) -> tuple[int, Part]:
    if turn["tool_call_id"] not in called:
        notes.refuse("X-tool-result", "messages")
    if not isinstance(turn["content"], str):
        notes.report("L-parts-joined", "messages")
    number, name = called[turn["tool_call_id"]]
    return number, {"functionResponse": {"name": name, "response": _response(text_of(turn["content"]))}}


def _response(text: str) -> dict[str, Any]:
    """Return a tool's answer as the object that a response is: its own where it is one, else under `result`."""
    value = parse_object(text)
    return {"result": text} if value is None or value.keys() == {"result"} else value


def _results(results: list[tuple[int, Part]]) -> dict[str, Any]:
    return {"role": "user", "parts": [part for _, part in sorted(results, key=lambda result: result[0])]}


def _declarations(tools: Sequence[dict[str, Any]], notes: Notes) -> list[dict[str, Any]]:
    declared = functions(tools, notes)
    for index, function in enumerate(declared):
        if "parameters" in function:
            at = f"tools.{index}.function.parameters"
            function["parameters"] = gemini_schema(function["parameters"], at, notes)
    return declared


SHAPES = {
    "gemini_sft": Shape("sft", gemini_sft),
    "gemini_preference": Shape("preference", gemini_preference),
    "open_models": Shape("sft", partial(chat.chat, carries=OPEN_MODELS)),
}


def targets() -> list[Target]:
    """Return Vertex AI's targets; a tuning job takes one file."""
    limits = load_limits(__package__)
    return [
        Target("vertexai", name, shape.kinds, shape.convert, limits[name], may_split=False)
        for name, shape in SHAPES.items()
    ]
