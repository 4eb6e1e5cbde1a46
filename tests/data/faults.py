"""Faults that people had in their rows, each with the report that it is taken from and what must be said of it.

A fault stands in a file of good rows; the rows are made up, the way in which they are broken is that of the report.
"""

import json
from typing import Any, NamedTuple


class Fault(NamedTuple):
    """One broken row, or several."""

    name: str
    source: str
    """The report."""
    code: str
    lines: tuple[bytes, ...]
    """Put behind GOOD_LINES good rows."""
    line: int | None
    """Line that must be named."""
    suffix: str = ".jsonl"
    is_whole: bool = False
    """Whether `lines` are the whole file."""


GOOD_LINES = 3


def chat(*turns: Any, **more: Any) -> bytes:
    """Return a line; a turn is (role, content) or a whole message."""
    messages = [t if isinstance(t, dict) else {"role": t[0], "content": t[1]} for t in turns]
    return json.dumps({"messages": messages, **more}).encode()


def good(number: int) -> bytes:
    """Return a row in which nothing is wrong."""
    return chat(("user", f"What is the colour of ball {number}?"), ("assistant", f"Ball {number} is red."))


def _call(arguments: Any = '{"city": "Oslo"}', **more: Any) -> dict[str, Any]:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": arguments}, **more}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _tool(**more: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": "c1", "content": "4 degrees", **more}


ASK, SAY = ("user", "How cold is it?"), ("assistant", "Four degrees.")
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
HUB = "https://github.com"
FIRST = GOOD_LINES + 1


def _one(name: str, source: str, code: str, line: bytes) -> Fault:
    return Fault(name, f"{HUB}/{source}", code, (line,), FIRST)


def _file(name: str, source: str, code: str, data: bytes, line: int | None = 1, suffix: str = ".jsonl") -> Fault:
    return Fault(name, f"{HUB}/{source}", code, (data,), line, suffix, is_whole=True)


FAULTS = (
    # The file's bytes and the line's syntax.
    _file("utf_16", "openai/openai-python/issues/426", "E001", good(1).decode().encode("utf-16")),
    _one("cp1252", "OkGoDoIt/OpenAI-API-dotnet/issues/59", "E001", chat(ASK, SAY).replace(b"Four", b"Vier\xdf")),
    _one("mark_inside", "ConservationMetrics/gc-scripts-hub/pull/234", "E001", b"\xef\xbb\xbf" + chat(ASK, SAY)),
    _one("bare_key", "openai-php/client/issues/107", "E002", b'{"messages": [], tools: []}'),
    _one("bare_quote", "openai-php/client/issues/107#issuecomment", "E002", chat(ASK, SAY).replace(b"Four", b'"Four"')),
    _one("two_rows", "TencentCloudADP/youtu-agent/issues/195", "E002", chat(ASK, SAY) + chat(ASK, SAY)),
    _one("cut_off", "wandb/rai-toolkit/issues/82", "E002", b'{"messages": '),
    _one("array_row", "wandb/rai-toolkit/issues/82#row", "E002", b"[]"),
    _one("trailing_comma", "python/cpython/issues/113149", "E002", chat(ASK, SAY)[:-1] + b",}"),
    _one("not_a_number", "strands-agents/evals/issues/380", "E002", chat(ASK, SAY)[:-1] + b', "reference": NaN}'),
    _one("lone_surrogate", "openai/tiktoken/issues/82", "E002", chat(ASK, SAY).replace(b"Four", b"\\udbc0")),
    _one("raw_control", "ncg-task/training-data/issues/1", "E002", chat(ASK, SAY).replace(b"Four", b"Four\tor")),
    _one("double_key", "jqlang/jq/issues/1509", "E002", b'{"messages": [], ' + chat(ASK, SAY)[1:]),
    _one("double_inner_key", "cityjson/specs/issues/2", "E002", chat(ASK, SAY).replace(b'"role": "user"', b'"role": "user", "role": "system"')),
    _file("missing_comma", "haotian-liu/LLaVA/issues/1775", "E002", b"[" + good(1) + b"\n" + good(2) + b"]", 2, ".json"),
    _file("mapping", "cleanlab/cleanlab-studio/pull/73", "E003", b'{"1": ' + good(1) + b"}", 1, ".json"),
    _file("list_of_lists", "unslothai/unsloth/issues/337", "E002", b'[\n[{"from": "human", "value": "a"}]]', 2, ".json"),
    _file("no_rows", "hiyouga/LlamaFactory/issues/5455", "E010", b"\n\n", None),
    # The shape.
    _file("unknown_columns", "modelscope/ms-swift/issues/1922", "E003", b'{"query": "a", "response": "b", "rejected_response": "c"}'),
    _file("input_output", "zjunlp/AutoAct/issues/6", "E003", b'{"input": "a", "output": "b"}'),
    _file("conversation", "shibing624/MedicalGPT/issues/294", "E003", b'{"conversation": [{"human": "a", "assistant": "b"}]}'),
    _one("from_value", "Tencent/AngelSlim/issues/7", "E003", chat({"from": "human", "value": "a"}, {"from": "gpt", "value": "b"})),
    _one("odd_role", "hiyouga/LlamaFactory/issues/6878", "E003", chat(("human", "a"), SAY)),
    _one("object_content", "hiyouga/LlamaFactory/issues/4249", "E003", chat(ASK, ("assistant", {"answer": 4}))),
    _one("number_content", "tloen/alpaca-lora/issues/239", "E003", chat(ASK, ("assistant", 4))),
    _one("array_content", "hiyouga/LlamaFactory/issues/8805", "E003", chat(("user", ["How cold is it?"]), SAY)),
    _one("string_messages", "huggingface/trl/issues/1777", "E003", json.dumps({"messages": "[user] a [assistant] b"}).encode()),
    _one("other_shape", "aws-samples/amazon-bedrock-workshop/issues/266", "E011", b'{"prompt": "a", "completion": "b"}'),
    _one("kinds_mixed", "modelscope/ms-swift/issues/2008", "E011", chat(ASK, preferred=[{"role": "assistant", "content": "4"}], rejected=[{"role": "assistant", "content": "5"}])),
    _one("half_a_pair", "hiyouga/LlamaFactory/issues/6730", "E003", chat(ASK, preferred=[{"role": "assistant", "content": "4"}])),
    # The turns.
    _one("two_answers", "unslothai/unsloth/issues/334", "E006", chat(ASK, SAY, SAY)),
    _one("two_questions", "huggingface/smol-course/issues/260", "E005", chat(ASK, SAY, ASK, ASK)),
    _one("answer_first", "FasterDecoding/Medusa/issues/102", "E006", chat(SAY, ASK, SAY)),
    _one("nothing_trained", "huggingface/trl/issues/6668", "E004", chat(ASK, {"role": "assistant", "content": "4", "weight": 0})),
    _one("empty_answer", "huggingface/trl/pull/6025", "E009", chat(ASK, ("assistant", ""))),
    _one("blank_answer", "zai-org/ChatGLM-6B/issues/686", "E009", chat(ASK, ("assistant", " \n"))),
    _one("null_answer", "huggingface/trl/issues/3927", "E009", chat(ASK, ("assistant", None))),
    _file("empty_text", "Lyon-NLP/mteb-french/pull/36", "E009", b'{"text": "a"}\n{"text": "  "}', 2),
    # Tools.
    _one("no_call_id", "langchain-ai/langchain/issues/22600", "E007", chat(ASK, _call(), _tool(tool_call_id=None), SAY)),
    _one("wrong_call_id", "vercel/ai/issues/2178", "E007", chat(ASK, _call(), _tool(tool_call_id="c9"), SAY)),
    _one("no_tool_answer", "agno-agi/agno/issues/3105", "E007", chat(ASK, _call(), SAY)),
    _one("cut_arguments", "agno-agi/agno/issues/4345", "E008", chat(ASK, _call('{"city": "Os'), _tool(), SAY)),
    _one("list_arguments", "langchain-ai/langchain/pull/35997", "E008", chat(ASK, _call('["Oslo"]'), _tool(), SAY)),
    _one("missing_argument", "Arize-ai/phoenix/pull/6217", "E008", chat(ASK, _call('{"days": 2}'), _tool(), SAY, tools=TOOLS)),
    _one("wrong_type", "langchain-ai/langchain/pull/36043", "E008", chat(ASK, _call('{"city": 5}'), _tool(), SAY, tools=TOOLS)),
    _one("undeclared_tool", "CopilotKit/CopilotKit/pull/7277", "W113", chat(ASK, _call(), _tool(), SAY, tools=[{"type": "function", "function": {"name": "time"}}])),
    # Among rows, and what should not be in them.
    Fault("exact_twin", f"{HUB}/zalandoresearch/fashion-mnist/issues/44", "W101", (good(2),), FIRST),
    Fault("near_twin", f"{HUB}/yafuly/MAGE/issues/16", "W102", (good(2).replace(b"What is the", b"what is  THE"),), FIRST),
    Fault("other_answer", f"{HUB}/tloen/alpaca-lora/issues/65", "W104", (good(2).replace(b"is red", b"is blue"),), 2),
    _one("zero_width", "facebookresearch/flores/issues/31", "W106", chat(ASK, ("assistant", "Four\u200b degrees."))),
    _one("control", "ncg-task/training-data/issues/1#escape", "W106", chat(ASK, ("assistant", "Four\u0007 degrees."))),
    _one("mail", "bigcode-project/bigcode-dataset/issues/1", "W107", chat(ASK, ("assistant", "Ask kari.nordmann@posten.no."))),
    _one("key", "ramimac/aws-customer-security-incidents/issues/241", "W107", chat(ASK, ("assistant", "Use AKIA2E0A8F3B244C9986."))),
    _one("card", "msaad00/agent-bom/issues/984", "W107", chat(ASK, ("assistant", "Paid with 4539 1488 0343 6467."))),
)  # fmt: skip
