"""From each shape of row that people have to the keys of an Example: pure functions over plain values.

KeyError, TypeError, AttributeError and ValueError mean that a row is not of the shape. Keys that a shape does not
know are kept as metadata; what has no place in an Example is an error, never left out.
"""

import mimetypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from tunebridge.data.canonical import FIELDS

RawRow = dict[str, Any]
Turns = list[Any]

_SHAREGPT_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "observation": "tool",
    "tool": "tool",
    "function_call": "assistant",
}
_GEMINI_ROLES = {"user": "user", "model": "assistant", "function": "tool"}


def chat(row: RawRow) -> RawRow:
    """OpenAI chat rows, and TRL's, whose arguments are objects and whose calls have no ids."""
    found = row if row.keys() <= FIELDS else others(row)
    mended = {key: complete_calls(found[key]) for key in _TURNS if found.get(key)}
    if any(mended[key] is not found[key] for key in mended):
        found = {**found, **mended}
    if isinstance(found.get("tools"), str):
        found = {**found, "tools": orjson.loads(found["tools"])}
    return found


_TURNS = ("messages", "preferred", "rejected")


def preference(row: RawRow) -> RawRow:
    """OpenAI preference rows: `input`, `preferred_output`, `non_preferred_output`."""
    given = row["input"]
    return chat(
        {
            **others(row, "input", "preferred_output", "non_preferred_output"),
            **others(given),
            "preferred": row["preferred_output"],
            "rejected": row["non_preferred_output"],
        }
    )


def chosen_rejected(row: RawRow) -> RawRow:
    """TRL preference rows with a prompt."""
    return chat(
        {
            **others(row, "prompt", "chosen", "rejected", "system"),
            "messages": [*_system(row), *_turns(row["prompt"], "user")],
            "preferred": _turns(row["chosen"], "assistant"),
            "rejected": _turns(row["rejected"], "assistant"),
        }
    )


def implicit_prompt(row: RawRow) -> RawRow:
    """TRL preference rows without a prompt: the turns that both answers begin with are the prompt."""
    chosen, rejected = row["chosen"], row["rejected"]
    if not isinstance(chosen, list) or not isinstance(rejected, list):
        raise TypeError("without a `prompt` column, chosen and rejected are lists of turns")
    same = 0
    while same < min(len(chosen), len(rejected)) - 1 and chosen[same] == rejected[same]:
        same += 1
    found = {"messages": chosen[:same], "preferred": chosen[same:], "rejected": rejected[same:]}
    return chat({**others(row, "chosen", "rejected"), **found})


def prompt_completion(row: RawRow) -> RawRow:
    """Prompt and completion, as texts or as lists of turns; with `label` a row for kto."""
    turns = [*_system(row), *_turns(row["prompt"], "user"), *_turns(row["completion"], "assistant")]
    return chat({**others(row, "system", "prompt", "completion"), "messages": turns})


def prompt_only(row: RawRow) -> RawRow:
    """A prompt without an answer."""
    return chat({**others(row, "system", "prompt"), "messages": [*_system(row), *_turns(row["prompt"], "user")]})


def text(row: RawRow) -> RawRow:
    """Plain text."""
    return row if row.keys() <= FIELDS else others(row)


def alpaca(row: RawRow) -> RawRow:
    """Alpaca rows: `instruction`, `input`, `output`, with `system`, `history`, `chosen` and `rejected` where given."""
    asked = "\n".join(part for part in (row["instruction"], row.get("input")) if part)
    before = [turn for pair in row.get("history") or () for turn in _pair(*pair)]
    known = ("instruction", "input", "output", "system", "history", "chosen", "rejected", "kto_tag")
    turns = [*_system(row), *before, {"role": "user", "content": asked}]
    found = others(row, *known)
    if row.get("chosen") is not None:
        answers = {"preferred": _turns(row["chosen"], "assistant"), "rejected": _turns(row["rejected"], "assistant")}
        return {**found, "messages": turns, **answers}
    return {**found, **_label(row), "messages": [*turns, {"role": "assistant", "content": row["output"]}]}


def sharegpt(row: RawRow) -> RawRow:
    """ShareGPT rows: `conversations` of from/value (or role/content), calls as `function_call` turns."""
    turns = [*_system(row), *_sharegpt_turns(row["conversations"])]
    found = {**others(row, "conversations", "system", "tools", "chosen", "rejected", "kto_tag"), **_label(row)}
    if row.get("tools"):
        tools = orjson.loads(row["tools"]) if isinstance(row["tools"], str) else row["tools"]
        found["tools"] = [tool if "function" in tool else {"type": "function", "function": tool} for tool in tools]
    if row.get("chosen") is not None:
        found["preferred"] = _sharegpt_turns([row["chosen"]])
        found["rejected"] = _sharegpt_turns([row["rejected"]])
    return {**found, "messages": turns}


def gemini(row: RawRow) -> RawRow:
    """Vertex AI's rows: `contents` of parts, `systemInstruction`, `tools`; with `completions` a preference."""
    system = row.get("systemInstruction") or row.get("system_instruction")
    turns: Turns = [{"role": "system", "content": _joined(system["parts"])}] if system else []
    for content in row["contents"]:
        turns += _gemini_turns(content, turns)
    found = others(row, "systemInstruction", "system_instruction", "contents", "tools", "completions")
    if row.get("tools"):
        functions = [function for tool in row["tools"] for function in _one(tool, "functionDeclarations")]
        found["tools"] = [{"type": "function", "function": function} for function in functions]
    if row.get("completions"):
        found |= {_SCORES[each["score"]]: _gemini_turns(each["completion"], []) for each in row["completions"]}
    return {**found, "messages": turns}


_SCORES = {1: "preferred", 0: "rejected"}


def converse(row: RawRow) -> RawRow:
    """Bedrock Converse rows: `messages` whose content is a list of blocks, `system`, `toolConfig`."""
    turns: Turns = [{"role": "system", "content": _joined(row["system"])}] if row.get("system") else []
    for message in row["messages"]:
        turns += _converse_turns(**message)
    found = others(row, "schemaVersion", "system", "messages", "toolConfig")
    if row.get("toolConfig"):
        found["tools"] = [_tool_of_spec(**_one(tool, "toolSpec")) for tool in _one(row["toolConfig"], "tools")]
    return {**found, "messages": turns}


def is_converse(row: RawRow) -> bool:
    """Whether the turns' contents are Converse's blocks, which have no `type`."""
    messages = row.get("messages")
    contents = [m.get("content") for m in messages if isinstance(m, dict)] if isinstance(messages, list) else []
    blocks = [block for content in contents if isinstance(content, list) for block in content]
    return bool(blocks) and all(isinstance(block, dict) and "type" not in block for block in blocks)


def others(row: Mapping[str, Any], *taken: str) -> RawRow:
    """Return the rest of a row: what Example knows by name, and everything else as metadata."""
    rest = {key: value for key, value in row.items() if key not in taken}
    known = {key: rest.pop(key) for key in list(rest) if key in FIELDS}
    if rest:
        known["metadata"] = {**rest, **(known.get("metadata") or {})}
    return known


def complete_calls(turns: Any) -> Any:
    """Return turns whose calls have ids and arguments as text, the same list where they had; answers find their call.

    Chat templates take arguments as objects and calls without ids, so rows made for them are written so.
    """
    if not isinstance(turns, list) or not any(_has_open_call(turn) for turn in turns):
        return turns
    completed: Turns = []
    open_ids: list[str] = []
    for number, turn in enumerate(turns):
        if isinstance(turn, dict) and turn.get("tool_calls"):
            calls = [_complete_call(call, f"call_{number}_{n}") for n, call in enumerate(turn["tool_calls"])]
            open_ids = [call["id"] for call in calls]
            turn = {**turn, "tool_calls": calls}
        elif isinstance(turn, dict) and turn.get("role") == "tool" and "tool_call_id" not in turn and open_ids:
            turn = {**turn, "tool_call_id": open_ids.pop(0)}
        completed.append(turn)
    return completed


def _has_open_call(turn: Any) -> bool:
    if not isinstance(turn, dict) or not turn.get("tool_calls"):
        return False
    return any(
        "id" not in call or not isinstance((call.get("function") or {}).get("arguments"), str)
        for call in turn["tool_calls"]
        if isinstance(call, dict)
    )


def _complete_call(call: RawRow, identifier: str) -> RawRow:
    function = call["function"]
    arguments = function.get("arguments")
    if isinstance(arguments, dict):
        function = {**function, "arguments": orjson.dumps(arguments).decode()}
    return {"id": identifier, "type": "function", **call, "function": function}


def _turns(value: Any, role: str) -> Turns:
    return value if isinstance(value, list) else [{"role": role, "content": value}]


def _system(row: RawRow) -> Turns:
    return [{"role": "system", "content": row["system"]}] if row.get("system") else []


def _pair(asked: Any, answered: Any) -> Turns:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


def _label(row: RawRow) -> RawRow:
    return {"label": row["kto_tag"]} if row.get("kto_tag") is not None else {}


def _sharegpt_turns(conversations: Sequence[RawRow]) -> Turns:
    turns: Turns = []
    for number, said in enumerate(conversations):
        theirs, value = (said["from"], said["value"]) if "from" in said else (said["role"], said["content"])
        turn = {**_rest(said, "from", "value", "role", "content"), "role": _SHAREGPT_ROLES[theirs], "content": value}
        if theirs == "function_call":
            call = orjson.loads(value)
            arguments = call["arguments"] if isinstance(call["arguments"], str) else orjson.dumps(call["arguments"])
            text_ = arguments if isinstance(arguments, str) else arguments.decode()
            function = {"name": call["name"], "arguments": text_}
            turn |= {"content": None, "tool_calls": [{"id": f"call_{number}", "function": function}]}
        elif turn["role"] == "tool" and "tool_call_id" not in turn:
            turn["tool_call_id"] = f"call_{number - 1}"
        turns.append(turn)
    return turns


def _gemini_turns(content: RawRow, before: Turns) -> Turns:
    role = _GEMINI_ROLES[content.get("role", "user")]
    calls: Turns = []
    answers: Turns = []
    parts: Turns = []
    for part in content["parts"]:
        (kind, value), *more = part.items()
        if more:
            raise ValueError(f"a part has {', '.join(part)}; it may have one of them")
        if kind == "functionCall":
            function = {"name": value["name"], "arguments": orjson.dumps(value.get("args", {})).decode()}
            calls.append({"id": f"call_{len(before)}_{len(calls)}", "type": "function", "function": function})
        elif kind == "functionResponse":
            answers.append({"role": "tool", "name": value["name"], "content": orjson.dumps(value["response"]).decode()})
        else:
            parts.append(_PARTS[kind](value))
    if answers:
        open_calls = before[-1]["tool_calls"] if before else []
        for answer, call in zip(answers, open_calls, strict=True):
            answer["tool_call_id"] = call["id"]
        if parts:
            raise ValueError("a turn has a functionResponse beside other parts")
        return answers
    turn: RawRow = {"role": role, "content": _simple(parts)}
    return [{**turn, "tool_calls": calls} if calls else turn]


def _image(file: RawRow) -> RawRow:
    uri, kind = file["fileUri"], file.get("mimeType")
    if kind is not None and kind != mimetypes.guess_type(uri)[0]:
        raise ValueError(f"mimeType {kind} does not follow from the file's ending, and has no place in a row")
    if not (mimetypes.guess_type(uri)[0] or "").startswith("image/"):
        raise ValueError("a fileData part is not an image")
    return {"type": "image_url", "image_url": {"url": uri}}


def _inline(data: RawRow) -> RawRow:
    return {"type": "image_url", "image_url": {"url": f"data:{data['mimeType']};base64,{data['data']}"}}


_PARTS: Mapping[str, Callable[[Any], RawRow]] = {
    "text": lambda value: {"type": "text", "text": value},
    "fileData": _image,
    "inlineData": _inline,
}


def _converse_turns(role: str, content: Any) -> Turns:
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    turn: RawRow = {"role": role}
    parts: Turns = []
    answers: Turns = []
    for block in content:
        ((kind, value),) = block.items()
        if kind == "text":
            parts.append({"type": "text", "text": value})
        elif kind == "image":
            parts.append(_converse_image(**value))
        elif kind == "toolUse":
            turn.setdefault("tool_calls", []).append(_tool_use(**value))
        elif kind == "toolResult":
            answers.append(_tool_result(**value))
        elif kind == "reasoningContent":
            turn["reasoning"] = value["reasoningText"]["text"]
        else:
            raise ValueError(f"a block {kind!r} has no place in a row")
    if parts or not answers:
        turn["content"] = _simple(parts)
        return [*answers, turn]
    return answers


def _converse_image(format: str, source: RawRow) -> RawRow:
    if "s3Location" in source:
        return {"type": "image_url", "image_url": {"url": source["s3Location"]["uri"]}}
    return {"type": "image_url", "image_url": {"url": f"data:image/{format};base64,{source['bytes']}"}}


def _tool_use(toolUseId: str, name: str, input: Any) -> RawRow:  # Converse's own names
    function = {"name": name, "arguments": orjson.dumps(input).decode()}
    return {"id": toolUseId, "type": "function", "function": function}


def _tool_result(toolUseId: str, content: Turns, status: str = "success") -> RawRow:
    if status != "success":
        raise ValueError(f"a toolResult has the status {status}, which has no place in a row")
    texts = [block["text"] if "text" in block else orjson.dumps(block["json"]).decode() for block in content]
    return {"role": "tool", "tool_call_id": toolUseId, "content": "\n".join(texts)}


def _tool_of_spec(name: str, inputSchema: RawRow, description: str | None = None) -> RawRow:
    function = {"name": name, "description": description, "parameters": inputSchema["json"]}
    return {"type": "function", "function": {key: value for key, value in function.items() if value is not None}}


def _simple(parts: Turns) -> Any:
    """Return one text as a string, several parts as a list, none as None."""
    if not parts:
        return None
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _joined(parts: Sequence[RawRow]) -> str:
    return "\n".join(_one(part, "text") for part in parts)


def _one(holder: RawRow, key: str) -> Any:
    """Return the only value of an object with one key."""
    if set(holder) != {key}:
        raise ValueError(f"expected {key} alone, found {', '.join(holder) or 'nothing'}")
    return holder[key]


def _rest(said: RawRow, *taken: str) -> RawRow:
    return {key: value for key, value in said.items() if key not in taken}
