"""Services' rows back into canonical rows, written from the services' documentation, and what counts as equal.

Equal is what no service can tell apart: a missing content and an empty one, one part of text and a text, a weight of 1
and none, the spaces in the JSON of a call's arguments, the names of calls' ids as long as results find their call.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Row = dict[str, Any]


class Kept(NamedTuple):
    """What a target keeps to the letter."""

    ids: bool = True
    """Ids of calls; otherwise only which result belongs to which call."""
    results: bool = True
    """The text of results; otherwise the object that it says."""
    arguments: bool = True
    """The text of arguments; otherwise the object that it says."""


def normalise(row: Row, kind: str, kept: Kept) -> Row:
    """Return a canonical row in the form in which equal rows are the same."""
    found = {key: value for key, value in row.items() if not (key in ("tools", "metadata") and not value)}
    ids: dict[str, str] = {}
    for key in ("messages", "preferred", "rejected"):
        if key in found:
            trained = kind == "sft" or key != "messages"
            found[key] = [_with_values(_turn(turn, trained=trained), ids, kept) for turn in found[key]]
            found[key] = found[key] if kept.ids else _in_order(found[key])
    if "tools" in found:
        found["tools"] = [_tool(tool) for tool in found["tools"]]
    return found


def _turn(turn: Row, *, trained: bool) -> Row:
    """Return a turn without what says nothing."""
    found = {key: value for key, value in turn.items() if key in ("role", "name", "tool_call_id")}
    content = turn.get("content") or ""
    if isinstance(content, list) and len(content) == 1 and content[0].get("type") == "text":
        content = content[0]["text"]
    if content or not turn.get("tool_calls"):
        found["content"] = content
    found.update({key: turn[key] for key in ("reasoning", "tool_calls") if turn.get(key)})
    if turn.get("weight") not in (None, 1) and trained and turn["role"] == "assistant":
        found["weight"] = turn["weight"]
    return found


def _with_values(turn: Row, ids: dict[str, str], kept: Kept) -> Row:
    """Return a turn with objects for texts and numbers for ids where a target does not keep them to the letter."""
    found = dict(turn)
    if turn["role"] == "tool":
        if not kept.results:
            found["content"] = _as_json(turn["content"])
        if not kept.ids and turn.get("tool_call_id") in ids:
            found["tool_call_id"] = ids[turn["tool_call_id"]]
    if "tool_calls" in turn:
        ids.update({call["id"]: str(len(ids) + number) for number, call in enumerate(turn["tool_calls"])})
        found["tool_calls"] = [
            {
                "id": call["id"] if kept.ids else ids[call["id"]],
                "name": call["function"]["name"],
                "arguments": call["function"]["arguments"]
                if kept.arguments
                else _as_json(call["function"]["arguments"]),
            }
            for call in turn["tool_calls"]
        ]
    return found


def _in_order(turns: list[Row]) -> list[Row]:
    """Return turns with results that stand together in the order of their calls: their ids say which is whose."""
    found: list[Row] = []
    for turn in turns:
        found.append(turn)
        if turn["role"] == "tool":
            start = len(found)
            while start and found[start - 1]["role"] == "tool":
                start -= 1
            if all(result.get("tool_call_id", "").isdecimal() for result in found[start:]):
                found[start:] = sorted(found[start:], key=lambda result: int(result["tool_call_id"]))
    return found


def _as_json(text: Any) -> Any:
    try:
        value = json.loads(text)
    except (TypeError, ValueError):
        return text
    return value if isinstance(value, dict) else text


def _tool(tool: Row) -> Row:
    return {**tool, "function": {"parameters": {"type": "object", "properties": {}}, **tool["function"]}}


def chat(rows: Sequence[Row]) -> Row:
    """Rows that are canonical already."""
    (row,) = rows
    return row


def dpo(rows: Sequence[Row]) -> Row:
    """OpenAI's pairs."""
    (row,) = rows
    return {**row["input"], "preferred": row["preferred_output"], "rejected": row["non_preferred_output"]}


def gemini(rows: Sequence[Row]) -> Row:
    """Gemini's contents."""
    (row,) = rows
    system = row.get("systemInstruction") or row.get("system_instruction")
    turns = [{"role": "system", "content": _gemini_content(system["parts"])}] if system else []
    waiting: list[Row] = []
    for content in row["contents"]:
        if "functionResponse" in content["parts"][0]:
            turns += [_gemini_result(part["functionResponse"], waiting) for part in content["parts"]]
        else:
            turns.append(_gemini_turn(content, waiting))
    found: Row = {"messages": turns}
    for completion in row.get("completions", ()):
        key = "preferred" if completion["score"] == 1 else "rejected"
        found[key] = [_gemini_turn(completion["completion"], waiting)]
    if "tools" in row:
        (tool,) = row["tools"]
        found["tools"] = [
            {
                "type": "function",
                "function": {
                    key: _json_schema(value) if key == "parameters" else value for key, value in declared.items()
                },
            }
            for declared in tool["functionDeclarations"]
        ]
    return found


def _gemini_turn(content: Row, waiting: list[Row]) -> Row:
    turn: Row = {"role": {"user": "user", "model": "assistant"}[content["role"]]}
    turn["content"] = _gemini_content([part for part in content["parts"] if "functionCall" not in part])
    calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
    if calls:
        turn["tool_calls"] = [
            {
                "id": f"{id(call)}",
                "type": "function",
                "function": {"name": call["name"], "arguments": json.dumps(call["args"])},
            }
            for call in calls
        ]
        waiting += turn["tool_calls"]
    return turn


def _gemini_result(response: Row, waiting: list[Row]) -> Row:
    call = next(call for call in waiting if call["function"]["name"] == response["name"])
    waiting.remove(call)
    value = response["response"]
    plain = value.keys() == {"result"} and isinstance(value["result"], str)
    return {"role": "tool", "tool_call_id": call["id"], "content": value["result"] if plain else json.dumps(value)}


def _gemini_content(parts: Sequence[Row]) -> list[Row]:
    return [
        {"type": "text", "text": part["text"]}
        if "text" in part
        else {"type": "image_url", "image_url": {"url": part["fileData"]["fileUri"]}}
        for part in parts
    ]


def _json_schema(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_json_schema(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    found = dict(schema)
    for key in ("items", "anyOf", "additionalProperties"):
        if key in found:
            found[key] = _json_schema(found[key])
    if "properties" in found:
        found["properties"] = {name: _json_schema(inner) for name, inner in found["properties"].items()}
    if "type" in found:
        found["type"] = found["type"].lower()
        if found.pop("nullable", False):
            found["type"] = [found["type"], "null"]
    return found


def converse(rows: Sequence[Row]) -> Row:
    """Converse rows, with candidates or without."""
    (row,) = rows
    assert row["schemaVersion"] == "bedrock-conversation-2024"
    turns: list[Row] = []
    if "system" in row:
        turns.append({"role": "system", "content": _converse_content(row["system"])})
    found: Row = {"messages": turns}
    for message in row["messages"]:
        if "candidates" in message:
            for candidate in message["candidates"]:
                key = "preferred" if candidate["preferenceLabel"] == "preferred" else "rejected"
                found[key] = [_converse_answer(candidate["content"])]
        elif message["role"] == "assistant":
            turns.append(_converse_answer(message["content"]))
        else:
            turns += _converse_asked(message["content"])
    if "toolConfig" in row:
        specs = [tool["toolSpec"] for tool in row["toolConfig"]["tools"]]
        found["tools"] = [
            {
                "type": "function",
                "function": {
                    **{key: spec[key] for key in ("name", "description") if key in spec},
                    "parameters": spec["inputSchema"]["json"],
                },
            }
            for spec in specs
        ]
    return found


def _converse_answer(blocks: Sequence[Row]) -> Row:
    turn: Row = {"role": "assistant"}
    calls = []
    content = []
    for block in blocks:
        if "reasoningContent" in block:
            turn["reasoning"] = block["reasoningContent"]["reasoningText"]["text"]
        elif "toolUse" in block:
            use = block["toolUse"]
            function = {"name": use["name"], "arguments": json.dumps(use["input"])}
            calls.append({"id": use["toolUseId"], "type": "function", "function": function})
        else:
            content.append(block)
    return {**turn, "content": _converse_content(content), **({"tool_calls": calls} if calls else {})}


def _converse_asked(blocks: Sequence[Row]) -> list[Row]:
    turns: list[Row] = []
    spoken: list[Row] = []
    for block in blocks:
        if "toolResult" in block:
            if spoken:
                turns.append({"role": "user", "content": _converse_content(spoken)})
                spoken = []
            result = block["toolResult"]
            content = _converse_content(result["content"])
            turns.append({"role": "tool", "tool_call_id": result["toolUseId"], "content": content})
        else:
            spoken.append(block)
    return [*turns, {"role": "user", "content": _converse_content(spoken)}] if spoken else turns


def _converse_content(blocks: Sequence[Row]) -> list[Row]:
    return [
        {"type": "text", "text": block["text"]}
        if "text" in block
        else {"type": "image_url", "image_url": {"url": block["image"]["source"]["s3Location"]["uri"]}}
        for block in blocks
    ]


def claude(rows: Sequence[Row]) -> Row:
    """Anthropic's rows."""
    (row,) = rows
    system = [{"role": "system", "content": row["system"]}] if "system" in row else []
    return {"messages": [*system, *row["messages"]]}


def prompt_completion(rows: Sequence[Row]) -> Row:
    """Texts of a prompt and a completion."""
    (row,) = rows
    beside = {key: value for key, value in row.items() if key not in ("prompt", "completion")}
    turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]
    return {"messages": turns, **beside}


def two_conversations(rows: Sequence[Row]) -> Row:
    """SageMaker's pairs: conversations that differ in the last turn."""
    (row,) = rows
    *context, preferred = row["chosen"]
    *same, rejected = row["rejected"]
    assert context == same
    return {"messages": context, "preferred": [preferred], "rejected": [rejected]}


def trl(rows: Sequence[Row]) -> Row:
    """TRL's columns; of several rows with a prompt the last has the whole conversation."""
    row = dict(rows[-1])
    images = iter(row.pop("images", ()))
    names = {"prompt": "messages", "chosen": "preferred"}
    found = {names.get(key, key): value for key, value in row.items()}
    trained = {len(other["prompt"]) for other in rows} if "completion" in row else None
    for key in ("messages", "completion", "preferred", "rejected"):
        if key in found:
            found[key] = [_trl_turn(turn, images) for turn in found[key]]
    found["messages"] += found.pop("completion", [])
    if trained and "label" not in row:
        for number, turn in enumerate(found["messages"]):
            if turn["role"] == "assistant" and number not in trained:
                turn["weight"] = 0
    return found


def _trl_turn(turn: Row, images: Any) -> Row:
    found = {"reasoning" if key == "reasoning_content" else key: value for key, value in turn.items()}
    if isinstance(found.get("content"), list):
        found["content"] = [
            {"type": "image_url", "image_url": {"url": next(images)}} if part["type"] == "image" else part
            for part in found["content"]
        ]
    if "tool_calls" in found:
        found["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}}
            for call in found["tool_calls"]
        ]
    return found


def graded(rows: Sequence[Row]) -> Row:
    """Prompts for a grader, of Bedrock and Nova."""
    (row,) = rows
    return {"reference" if key == "reference_answer" else key: value for key, value in row.items()}


def verl(rows: Sequence[Row]) -> Row:
    """SageMaker's prompts for a reward function."""
    (row,) = rows
    found: Row = {"messages": row["prompt"], **({"id": row["id"]} if "id" in row else {})}
    if "reward_model" in row:
        found["reference"] = row["reward_model"]["ground_truth"]
    return {**found, **({"metadata": row["extra_info"]} if "extra_info" in row else {})}


def pretraining(rows: Sequence[Row]) -> Row:
    """Bedrock's texts."""
    (row,) = rows
    return {"text": row["input"]}


def gradient_text(rows: Sequence[Row]) -> Row:
    """Gradient.AI's whole texts."""
    (row,) = rows
    return {"text": row["inputs"]}


KEPT: dict[Callable[[Sequence[Row]], Row], Kept] = {
    gemini: Kept(ids=False, results=False, arguments=False),
    converse: Kept(arguments=False),
    trl: Kept(arguments=False),
}
"""Parser -> what its rows keep, where it is not everything."""
PARSERS: dict[str, Callable[[Sequence[Row]], Row]] = {
    "openai/chat": chat,
    "openai/dpo": dpo,
    "openai/rft": chat,
    "azure_openai/chat": chat,
    "azure_openai/dpo": dpo,
    "azure_openai/rft": chat,
    "together/chat": chat,
    "together/dpo": dpo,
    "together/text": chat,
    "fireworks/chat": chat,
    "fireworks/dpo": dpo,
    "mistral/chat": chat,
    "vertexai/gemini_sft": gemini,
    "vertexai/gemini_preference": gemini,
    "vertexai/open_models": chat,
    "sagemaker/serverless_sft": chat,
    "sagemaker/serverless_dpo": two_conversations,
    "sagemaker/nova_sft": converse,
    "sagemaker/nova_dpo": converse,
    "sagemaker/serverless_rl": verl,
    "sagemaker/nova_rl": graded,
    "sagemaker/jumpstart": prompt_completion,
    "bedrock/converse": converse,
    "bedrock/prompt_completion": prompt_completion,
    "bedrock/claude": claude,
    "bedrock/rft": graded,
    "bedrock/distillation": converse,
    "bedrock/pretraining": pretraining,
    "huggingface/messages": trl,
    "huggingface/prompt_completion": trl,
    "huggingface/preference": trl,
    "huggingface/kto": trl,
    "huggingface/prompt_only": trl,
    "huggingface/text": chat,
    "gradient/inputs": prompt_completion,
    "gradient/text": gradient_text,
}
"""Target -> how its rows are read; Gradient.AI's conversations are never exact and need no parser."""
