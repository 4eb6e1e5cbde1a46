"""Every cell of the matrix of features and targets, pinned; and the few refusals that no feature alone shows."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tools.dataset_targets import ASKED, BLUE, FEATURES, RED, SYSTEM, cells, every_target, plugin_modules, verdict
from tunebridge.data.example import Example, Message
from tunebridge.data.shapes.limits import load_unverified
from tunebridge.data.shapes.notes import CODES
from tunebridge.data.shapes.turns import CONVERSATION, ROW_CODES
from tunebridge.data.targets import Converted, Limits
from tunebridge_sagemaker.rows import jumpstart_template

PINNED: dict[str, dict[str, str]] = tomllib.loads((Path(__file__).parent / "matrix.toml").read_text())
TARGETS = {f"{target.backend}/{target.name}": target for target in every_target()}
FOUND = {name: {cell.feature: verdict(cell.converted) for cell in cells(target)} for name, target in TARGETS.items()}
CELLS = [
    (name, feature, codes)
    for name, pinned in PINNED.items()
    for codes, features in pinned.items()
    for feature in features.split()
]
CALL = {"id": "c", "function": {"name": "look", "arguments": "{}"}}
CALLED = {"role": "assistant", "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "red"}
PART = {"type": "text", "text": "a"}
IMAGE = {"type": "image_url", "image_url": {"url": "s3://b/c.tiff"}}


def convert(name: str, **row: Any) -> Converted:
    return TARGETS[name].convert(Example.model_validate(row).to_json())


@pytest.mark.parametrize(("name", "feature", "codes"), CELLS)
def test_the_cell_is_as_pinned(name: str, feature: str, codes: str) -> None:
    assert FOUND[name][feature] == codes


def test_every_field_of_a_row_is_known_to_the_conversions() -> None:
    assert {*Example.model_fields} == CONVERSATION | ROW_CODES.keys()
    handled = {"role", "content", "name", "tool_calls", "tool_call_id", "reasoning", "weight"}
    assert {*Message.model_fields} == handled  # a new one must be carried or reported in shapes/turns.py


def test_no_cell_is_left_out() -> None:
    found = {(name, feature) for name, features in FOUND.items() for feature in features}
    assert {(name, feature) for name, feature, _ in CELLS} == found


def test_what_is_unverified_exists() -> None:
    known = {*TARGETS, *(target.backend for target in TARGETS.values())}
    for module in plugin_modules():
        if hasattr(module, "tunebridge_dataset_targets"):
            for name, features in load_unverified(module.__name__).items():
                assert name in known
                assert features.keys() <= FEATURES.keys()


def test_limits_say_when_and_where() -> None:
    for target in TARGETS.values():
        assert isinstance(target.limits, Limits)
        assert target.limits.source_url.startswith("https://")
    assert TARGETS["openai/chat"].limits.max_bytes == 512_000_000
    assert TARGETS["vertexai/gemini_sft"].limits.max_validation_rows == 5_000


def test_only_azure_wants_a_byte_order_mark() -> None:
    assert {target.backend for target in TARGETS.values() if target.byte_order_mark} == {"azure_openai"}


REFUSED: list[tuple[str, str, dict[str, Any]]] = [
    ("X-kind", "openai/chat", {"text": "a"}),
    ("X-kind", "vertexai/gemini_preference", {"messages": [ASKED, RED]}),
    ("X-mixed", "together/text", {"text": "a", "preferred": [RED], "rejected": [BLUE]}),
    ("X-empty-turn", "huggingface/text", {"text": ""}),
    ("X-empty-turn", "openai/rft", {"messages": []}),
    ("X-misplaced", "openai/chat", {"messages": [{**ASKED, "tool_calls": [CALL]}, RED]}),
    ("X-misplaced", "openai/chat", {"messages": [{**ASKED, "tool_call_id": "c"}, RED]}),
    ("X-misplaced", "openai/chat", {"messages": [{**ASKED, "reasoning": "Hm."}, RED]}),
    ("X-image-role", "openai/chat", {"messages": [ASKED, {"role": "assistant", "content": [PART, IMAGE]}]}),
    ("X-image-type", "bedrock/converse", {"messages": [{"role": "user", "content": [IMAGE]}, RED]}),
    ("X-tool-result", "openai/chat", {"messages": [ASKED, {"role": "tool", "content": "a"}, RED]}),
    ("X-tool-result", "vertexai/gemini_sft", {"messages": [ASKED, RESULT, RED]}),
    ("X-tool-result", "sagemaker/nova_sft", {"messages": [ASKED, RESULT, RED]}),
    ("X-tool-declaration", "vertexai/gemini_sft", {"messages": [ASKED, RED], "tools": [{"type": "web_search"}]}),
    ("X-tool-declaration", "openai/chat", {"messages": [ASKED, RED], "tools": [{"type": "function", "function": {}}]}),
    ("X-first-turn", "bedrock/claude", {"messages": [RED, ASKED, RED]}),
    ("X-first-turn", "bedrock/converse", {"messages": [RED, ASKED, RED]}),
    ("X-first-turn", "bedrock/prompt_completion", {"messages": [SYSTEM, RED]}),
    ("X-first-turn", "huggingface/prompt_completion", {"messages": [RED]}),
    ("X-first-turn", "huggingface/kto", {"messages": [RED], "label": True}),
    ("X-alternation", "sagemaker/nova_sft", {"messages": [ASKED, CALLED, RED]}),
    ("X-answer-turns", "openai/dpo", {"messages": [ASKED], "preferred": [RED, ASKED, RED], "rejected": [BLUE]}),
    ("X-answer-turns", "huggingface/preference", {"messages": [ASKED], "preferred": [ASKED], "rejected": [BLUE]}),
    ("X-last-turn", "openai/rft", {"messages": [ASKED, {**RED, "weight": 0}]}),
    ("X-last-turn", "vertexai/gemini_preference", {"messages": [SYSTEM], "preferred": [RED], "rejected": [BLUE]}),
]


@pytest.mark.parametrize(("code", "name", "row"), REFUSED)
def test_a_row_is_refused(code: str, name: str, row: dict[str, Any]) -> None:
    converted = convert(name, **row)
    assert converted.refused is not None
    assert converted.refused.code == code
    assert converted.rows == ()


@pytest.mark.parametrize("arguments", ["", "[]", "{'a': 1}", '{"a": 1, "a": 2}'])
def test_arguments_that_are_no_object_are_refused_where_objects_are_sent(arguments: str) -> None:
    called = {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "look", "arguments": arguments}}]}
    for name in ("vertexai/gemini_sft", "sagemaker/nova_sft", "huggingface/messages"):
        refused = convert(name, messages=[ASKED, called, RESULT, RED]).refused
        assert refused is not None
        assert (refused.code, refused.path) == ("X-arguments", "messages.1.tool_calls.0.function.arguments")
    (row,) = convert("openai/chat", messages=[ASKED, called, RESULT, RED]).rows
    assert row["messages"][1]["tool_calls"][0]["function"]["arguments"] == arguments


def test_answers_out_of_order_find_their_calls_without_ids() -> None:
    calls = [{"id": n, "function": {"name": "look", "arguments": f'{{"at": "{n}"}}'}} for n in ("sky", "sea")]
    results = [{"role": "tool", "tool_call_id": n, "content": f"{n} is seen"} for n in ("sea", "sky")]
    (row,) = convert(
        "vertexai/gemini_sft", messages=[ASKED, {"role": "assistant", "tool_calls": calls}, *results, RED]
    ).rows
    parts = row["contents"][2]["parts"]
    assert [part["functionResponse"]["response"] for part in parts] == [
        {"result": "sky is seen"},
        {"result": "sea is seen"},
    ]


@pytest.mark.parametrize(
    ("content", "response"),
    [
        ("red", {"result": "red"}),
        ('{"colour": "red"}', {"colour": "red"}),
        ('{"result": "red"}', {"result": '{"result": "red"}'}),
        ("[1]", {"result": "[1]"}),
    ],
)
def test_a_result_is_the_object_that_it_is_or_a_text(content: str, response: dict[str, Any]) -> None:
    (row,) = convert("vertexai/gemini_sft", messages=[ASKED, CALLED, {**RESULT, "content": content}, RED]).rows
    assert row["contents"][2]["parts"][0]["functionResponse"] == {"name": "look", "response": response}


def test_a_conversation_becomes_one_row_per_trained_answer() -> None:
    turns = [SYSTEM, ASKED, {**RED, "weight": 0}, ASKED, BLUE, ASKED, RED]
    converted = convert("bedrock/prompt_completion", messages=turns)
    assert [row["completion"] for row in converted.rows] == ["Blue.", "Red."]
    assert converted.rows[0]["prompt"] == (
        "Be short.\n\nUser: Which colour?\n\nAssistant: Red.\n\nUser: Which colour?\n\nAssistant:"
    )
    assert [loss.code for loss in converted.losses] == ["L-system-in-prompt", "L-rendered"]


def test_a_weight_becomes_a_multiplier() -> None:
    (sample,) = convert("gradient/inputs", messages=[ASKED, {**RED, "weight": 0.5}]).rows
    assert sample == {
        "inputs": [
            {"value": "User: Which colour?\n\nAssistant:", "trainable": False},
            {"value": " Red.", "trainable": True},
        ],
        "fineTuningParameters": {"multiplier": 0.5},
    }


def test_together_takes_no_mixture_of_texts_and_parts() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    (row,) = convert("together/chat", messages=[{"role": "user", "content": [PART, image]}, RED]).rows
    assert [type(turn["content"]) for turn in row["messages"]] == [list, list]


def test_mistral_gets_ids_of_nine() -> None:
    converted = convert("mistral/chat", messages=[ASKED, CALLED, RESULT, RED])
    called, result = converted.rows[0]["messages"][1:3]
    assert len(called["tool_calls"][0]["id"]) == 9
    assert called["tool_calls"][0]["id"] == result["tool_call_id"]
    assert {loss.code for loss in converted.losses} == {"L-call-ids-renamed"}


def test_the_template_names_the_columns() -> None:
    (row,) = convert("sagemaker/jumpstart", messages=[ASKED, RED], id="1").rows
    filled = {key: template.format(**row) for key, template in jumpstart_template().items()}
    assert filled == {"prompt": "Which colour?", "completion": "Red."}


def test_every_code_happens_somewhere() -> None:
    found = {code for codes in (c for _, _, c in CELLS) for code in codes.split(", ")} | {
        code for code, _, _ in REFUSED
    }
    elsewhere = {"X-image-count", "X-image-size"}  # of a service's limits, see test_images.py
    assert {*CODES} - found - elsewhere == {"X-arguments", "L-call-ids-renamed", "L-label"}
    assert convert("together/text", text="a", label=True).losses[0].code == "L-label"


def test_system_turns_are_merged_in_order() -> None:
    turns = [{"role": "developer", "content": "Be kind."}, ASKED, SYSTEM, RED]
    (row,) = convert("bedrock/claude", messages=turns).rows
    assert row == {"system": "Be kind.\n\nBe short.", "messages": [ASKED, RED]}


def test_images_are_listed_in_the_order_of_their_places() -> None:
    images = [{"type": "image_url", "image_url": {"url": f"s3://b/{name}.png"}} for name in "ab"]
    (row,) = convert("huggingface/messages", messages=[{"role": "user", "content": [*images, PART]}, RED]).rows
    assert row["images"] == ["s3://b/a.png", "s3://b/b.png"]
    assert row["messages"][0]["content"] == [{"type": "image"}, {"type": "image"}, PART]


def test_a_tools_parameters_become_vertex_schemas() -> None:
    parameters = {
        "type": "object",
        "properties": {
            "at": {"type": ["string", "null"], "enum": ["sky"]},
            "all": {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"const": 1}]}},
        },
        "additionalProperties": False,
    }
    tools = [{"type": "function", "function": {"name": "look", "parameters": parameters}}]
    converted = convert("vertexai/gemini_sft", messages=[ASKED, RED], tools=tools)
    assert converted.rows[0]["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "look",
                    "parameters": {
                        "type": "OBJECT",
                        "properties": {
                            "at": {"type": "STRING", "nullable": True, "enum": ["sky"]},
                            "all": {"type": "ARRAY", "items": {"anyOf": [{"type": "INTEGER"}, {}]}},
                        },
                        "additionalProperties": False,
                    },
                }
            ]
        }
    ]
    (loss,) = converted.losses
    assert (loss.code, loss.path) == (
        "L-tool-schema",
        "tools.0.function.parameters.properties.all.items.anyOf.1.const",
    )
