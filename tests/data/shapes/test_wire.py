"""Rows fit what the vendors publish: Google's discovery document, and the types of the SDKs that are installed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.strategies import tidy_rows
from tools.dataset_targets import cells, every_target

Row = dict[str, Any]
PROPERTY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TARGETS = {f"{target.backend}/{target.name}": target for target in every_target()}
PUBLISHED = json.loads((Path(__file__).parent / "schemas" / "gemini_contents.json").read_text())["schemas"]


def built(name: str, *rows: Row) -> Iterator[Row]:
    """Yield what the matrix's rows and some others become."""
    target = TARGETS[name]
    for row in (*(cell.row for cell in cells(target)), *rows):
        yield from target.convert(row).rows


def json_schema(name: str) -> Row:
    """Return a published schema with all that it names, and nothing allowed that it does not name."""
    definitions = json.loads(json.dumps(PUBLISHED))
    for definition in definitions.values():
        definition["additionalProperties"] = False
        definition["properties"] = {key: _property(value) for key, value in definition["properties"].items()}
    return {"$ref": f"#/$defs/{name}", "$defs": definitions}


def _property(value: Row) -> Row:
    if "$ref" in value:
        known = value["$ref"] in PUBLISHED
        return {"$ref": f"#/$defs/{value['$ref']}"} if known else {}
    if value.get("format") == "int64":
        return {"type": ["integer", "string"]}
    found = {key: inner for key, inner in value.items() if key in ("type", "enum") and inner != "any"}
    for key in ("items", "additionalProperties"):
        if isinstance(value.get(key), dict):
            found[key] = _property(value[key])
    return found


CONTENT, TOOL = (jsonschema.Draft202012Validator(json_schema(name)) for name in ("Content", "Tool"))


@given(row=tidy_rows("sft"))
@PROPERTY
def test_gemini_rows_fit_the_discovery_document(row: Row) -> None:
    for sent in built("vertexai/gemini_sft", row):
        assert sent.keys() <= {"systemInstruction", "contents", "tools"}
        for content in (*sent["contents"], *([sent["systemInstruction"]] if "systemInstruction" in sent else [])):
            CONTENT.validate(content)
            assert all(len(part) == 1 for part in content["parts"])
            assert content["parts"]
        for tool in sent.get("tools", ()):
            TOOL.validate(tool)


@given(row=tidy_rows("preference"))
@PROPERTY
def test_gemini_pairs_fit_the_discovery_document(row: Row) -> None:
    for sent in built("vertexai/gemini_preference", row):
        assert [completion["score"] for completion in sent["completions"]] == [1, 0]
        assert sent["contents"][-1]["role"] == "user"
        for content in (*sent["contents"], *(completion["completion"] for completion in sent["completions"])):
            CONTENT.validate(content)


@pytest.mark.parametrize("name", ["bedrock/converse", "sagemaker/nova_sft", "sagemaker/nova_dpo"])
@given(data=st.data())
@PROPERTY
def test_converse_rows_fit_the_service_model(name: str, data: st.DataObject) -> None:
    pytest.importorskip("botocore")
    from botocore.session import get_session
    from botocore.validate import ParamValidator

    model = get_session().get_service_model("bedrock-runtime")
    (kind,) = TARGETS[name].kinds

    def validate(value: Any, shape: str) -> None:
        report = ParamValidator().validate(value, model.shape_for(shape))
        assert not report.has_errors(), report.generate_report()

    for sent in built(name, data.draw(tidy_rows(kind))):
        validate(sent.get("system", []), "SystemContentBlocks")
        *before, last = sent["messages"]
        answers = last.get("candidates", [last])
        for message in (*before, *({"role": "assistant", "content": answer["content"]} for answer in answers)):
            validate(message, "Message")
        if "toolConfig" in sent:
            validate(sent["toolConfig"], "ToolConfiguration")


@given(row=tidy_rows("sft"))
@PROPERTY
def test_gradient_samples_fit_the_sdk(row: Row) -> None:
    pytest.importorskip("gradientai")
    from gradientai.openapi.client.models.fine_tune_model_body_params_samples_inner import (
        FineTuneModelBodyParamsSamplesInner as Sample,
    )

    for sent in built("gradient/inputs", row):
        known = Sample.from_dict(sent).to_dict()
        inputs = [{key: part[key] for key in ("value", "trainable")} for part in known["inputs"]]
        assert inputs == sent["inputs"]
        assert known.get("fineTuningParameters") == sent.get("fineTuningParameters")


@given(row=tidy_rows("sft"))
@PROPERTY
def test_chat_rows_fit_the_types_of_the_sdk(row: Row) -> None:
    pytest.importorskip("openai")
    from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
    from pydantic import TypeAdapter

    messages, tools = TypeAdapter(list[ChatCompletionMessageParam]), TypeAdapter(list[ChatCompletionToolParam])
    for sent in built("openai/chat", row):
        messages.validate_python(sent["messages"])
        tools.validate_python(sent.get("tools", []))
