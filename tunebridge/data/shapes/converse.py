"""The dialect of Amazon's Converse rows, which Bedrock and SageMaker take for Nova models."""

from collections.abc import Sequence
from typing import Any

from tunebridge.data.shapes.calls import functions
from tunebridge.data.shapes.carries import Carries, Turn
from tunebridge.data.shapes.content import image_type
from tunebridge.data.shapes.notes import Notes, Rows
from tunebridge.data.shapes.order import require_last
from tunebridge.data.shapes.turns import carried_answers, carried_keys, carried_turns
from tunebridge.data.targets import CanonicalRow

VERSION = "bedrock-conversation-2024"

Block = dict[str, Any]


def converse(row: CanonicalRow, notes: Notes, carries: Carries, *, last: str = "assistant") -> Rows:
    """Build `{"schemaVersion", "system", "messages", "toolConfig"}` that ends with a turn of `last`."""
    kept = carried_keys(row, carries, notes)
    turns = carried_turns(row["messages"], carries, notes)
    require_last(turns, (last,), notes)
    return (_row(turns, kept, notes),)


def converse_preference(row: CanonicalRow, notes: Notes, carries: Carries) -> Rows:
    """Build a Converse row whose last turn has a preferred and a non-preferred candidate."""
    kept = carried_keys(row, carries, notes)
    turns = carried_turns(row["messages"], carries, notes, trained=False)
    require_last(turns, ("user", "tool"), notes)
    built = _row(turns, kept, notes)
    (preferred,), (rejected,) = carried_answers(row, carries, notes)
    candidates = [
        {"content": _blocks(preferred), "preferenceLabel": "preferred"},
        {"content": _blocks(rejected), "preferenceLabel": "non-preferred"},
    ]
    built["messages"].append({"role": "assistant", "candidates": candidates})
    return (built,)


def _row(turns: Sequence[Turn], kept: dict[str, Any], notes: Notes) -> dict[str, Any]:
    row: dict[str, Any] = {"schemaVersion": VERSION}
    if turns[0]["role"] == "system":
        row["system"] = [{"text": text} for text in _texts(turns[0]["content"])]
    row["messages"] = _messages([turn for turn in turns if turn["role"] != "system"], notes)
    if "tools" in kept:
        row["toolConfig"] = {"tools": [_tool(function) for function in functions(kept["tools"], notes)]}
    return row


def _messages(turns: Sequence[Turn], notes: Notes) -> list[dict[str, Any]]:
    """Return turns in strict alternation: tool results go into the user's turn that they stand beside."""
    messages: list[dict[str, Any]] = []
    called: set[str] = set()
    before = None
    for turn in turns:
        role = turn["role"]
        side = "assistant" if role == "assistant" else "user"
        if role == "tool" and turn["tool_call_id"] not in called:
            notes.refuse("X-tool-result", "messages")
        if not messages and side == "assistant":
            notes.refuse("X-first-turn", "messages")
        if messages and messages[-1]["role"] == side:
            if side == "assistant" or "tool" not in (role, before):
                notes.refuse("X-alternation", "messages")
            messages[-1]["content"] += _blocks(turn)
        else:
            messages.append({"role": side, "content": _blocks(turn)})
        called.update(call["id"] for call in turn.get("tool_calls", ()))
        before = role
    if not messages:
        notes.refuse("X-first-turn", "messages")
    return messages


def _blocks(turn: Turn) -> list[Block]:
    content = turn.get("content")
    if turn["role"] == "tool":
        results = [{"text": text} for text in _texts(turn["content"])]
        return [{"toolResult": {"toolUseId": turn["tool_call_id"], "content": results}}]
    blocks: list[Block] = []
    if "reasoning" in turn:
        blocks.append({"reasoningContent": {"reasoningText": {"text": turn["reasoning"]}}})
    if isinstance(content, str):
        blocks.append({"text": content})
    elif content is not None:
        blocks += [_image(part) if "image_url" in part else {"text": part["text"]} for part in content]
    return blocks + [_call(call) for call in turn.get("tool_calls", ())]


def _texts(content: str | Sequence[dict[str, Any]]) -> list[str]:
    return [content] if isinstance(content, str) else [part["text"] for part in content]


def _image(part: dict[str, Any]) -> Block:
    url = part["image_url"]["url"]
    kind = (image_type(url) or "").removeprefix("image/")
    return {"image": {"format": kind, "source": {"s3Location": {"uri": url}}}}


def _call(call: dict[str, Any]) -> Block:
    function = call["function"]
    return {"toolUse": {"toolUseId": call["id"], "name": function["name"], "input": function["arguments"]}}


def _tool(function: Any) -> dict[str, Any]:
    known = {key: function[key] for key in ("name", "description") if key in function}
    schema = function.get("parameters", {"type": "object", "properties": {}})
    return {"toolSpec": {**known, "inputSchema": {"json": schema}}}
