"""Uploaded rows as the service reads them: what is wrong with one, and the canonical row that it stands for."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from tunebridge_vertexai.validation import problem

ROLES = {"user": "user", "model": "assistant"}
CHAT_ROLES = ("system", "user", "assistant")


def problem_of_gemini(row: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a row of Gemini's supervised tuning."""
    return _problem_of_contents(row, {"systemInstruction", "system_instruction", "contents", "tools"}, "model")


def problem_of_preference(row: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a row of Gemini's preference tuning."""
    known = {"systemInstruction", "system_instruction", "contents", "completions"}
    if wrong := _problem_of_contents(row, known, "user"):
        return wrong
    completions = row.get("completions") or []
    scores = sorted(one.get("score", -1) for one in completions)
    if scores != [0, 1]:
        return "completions need one with score 1 and one with score 0"
    answers = (problem(one.get("completion"), "Content", at="completions") for one in completions)
    return next(filter(None, answers), None)


def problem_of_chat(row: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a row of an open model's tuning."""
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        return None if {"prompt", "completion"} <= row.keys() else "messages, or prompt and completion, are needed"
    roles = [turn.get("role") if isinstance(turn, dict) else None for turn in messages]
    if any(role not in CHAT_ROLES for role in roles):
        return f"roles are {', '.join(CHAT_ROLES)}"
    return None if roles[-1] == "assistant" else "the last message must be the assistant's"


def canonical_gemini(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the canonical row; calls get ids again, and results are those of the calls in their order."""
    return {"messages": _messages(row)}


def canonical_preference(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the canonical row of a pair."""
    by_score = {one["score"]: _turns(one["completion"], []) for one in row["completions"]}
    return {"messages": _messages(row), "preferred": by_score[1], "rejected": by_score[0]}


READ: Mapping[str, tuple[Callable[[Mapping[str, Any]], str | None], Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "gemini": (problem_of_gemini, canonical_gemini),
    "preference": (problem_of_preference, canonical_preference),
    "open_models": (problem_of_chat, dict),
}
"""Kind of rows -> how one is checked and read."""


def canonical(content: bytes, read: Callable[[Mapping[str, Any]], dict[str, Any]]) -> bytes:
    """Return a whole file as canonical rows."""
    rows = (read(json.loads(line)) for line in content.split(b"\n") if line.strip())
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _problem_of_contents(row: Mapping[str, Any], known: set[str], last: str) -> str | None:
    if unknown := sorted(row.keys() - known):
        return f"unknown key {unknown[0]}"
    contents = row.get("contents")
    if not isinstance(contents, list) or not contents:
        return "contents are missing"
    for turn in contents:
        if wrong := problem(turn, "Content", at="contents"):
            return wrong
        if turn.get("role") not in ROLES:
            return "a role is neither user nor model"
        if not turn.get("parts"):
            return "a turn has no parts"
    return None if contents[-1]["role"] == last else f"the last turn must be the {last}'s"


def _messages(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    system = row.get("systemInstruction") or row.get("system_instruction")
    messages = [{"role": "system", "content": _text(system)}] if system else []
    waiting: list[str] = []
    for turn in row["contents"]:
        messages += _turns(turn, waiting)
    return messages


def _turns(turn: Mapping[str, Any], waiting: list[str]) -> list[dict[str, Any]]:
    """Return the turns of one content; `waiting` holds the ids of calls that have no result yet."""
    results = [part["functionResponse"] for part in turn["parts"] if "functionResponse" in part]
    if results:
        answers = (result["response"].get("result", result["response"]) for result in results)
        texts = [answer if isinstance(answer, str) else json.dumps(answer) for answer in answers]
        return [{"role": "tool", "tool_call_id": waiting.pop(0), "content": text} for text in texts]
    message: dict[str, Any] = {"role": ROLES[turn["role"]], "content": _text(turn)}
    calls = [part["functionCall"] for part in turn["parts"] if "functionCall" in part]
    if calls:
        message["tool_calls"] = [_call(call, waiting) for call in calls]
    return [message]


def _call(call: Mapping[str, Any], waiting: list[str]) -> dict[str, Any]:
    waiting.append(f"call-{len(waiting) + 1}-{call['name']}")
    function = {"name": call["name"], "arguments": json.dumps(call.get("args", {}))}
    return {"id": waiting[-1], "type": "function", "function": function}


def _text(turn: Mapping[str, Any]) -> str:
    return "\n".join(part["text"] for part in turn["parts"] if "text" in part)
