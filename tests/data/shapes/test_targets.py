"""What a conversion calls exact comes back unchanged; what it calls lost is all that was lost."""

import copy
import json
import pickle
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.shapes import inverse
from tests.data.strategies import ROWS, tidy_rows, wild_rows
from tools.dataset_targets import cells, every_target, plain_row
from tunebridge.data.example import Example
from tunebridge.data.shapes.calls import parse_object
from tunebridge.data.shapes.notes import CODES, kind_of
from tunebridge.data.targets import Converted, Loss, Target

Row = dict[str, Any]

TARGETS = {f"{target.backend}/{target.name}": target for target in every_target()}
IDS_ONLY = {"L-call-ids", "L-call-ids-renamed"}
each_kind = pytest.mark.parametrize("kind", ["sft", "preference", "kto", "prompt_only", "text"])
each_target = pytest.mark.parametrize("name", TARGETS)
PROPERTY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def kind_of_target(target: Target) -> str:
    (kind,) = target.kinds
    return kind


def of_kind(kind: str) -> list[str]:
    return [name for name, target in TARGETS.items() if kind in target.kinds]


def test_every_target_has_a_parser() -> None:
    assert TARGETS.keys() == inverse.PARSERS.keys()


@given(row=ROWS)
@settings(PROPERTY, max_examples=200)
def test_a_conversion_of_any_row_raises_nothing_and_writes_nothing(row: Row) -> None:
    before = copy.deepcopy(row)
    for target in TARGETS.values():
        converted = target.convert(row)
        assert row == before
        losses = [*converted.losses, *([converted.refused] if converted.refused else [])]
        assert all(CODES[loss.code] == loss.message for loss in losses)
        assert (converted.refused is None) == bool(converted.rows)
        assert all(loss.code.startswith("L-") for loss in converted.losses)
        assert converted.refused is None or (converted.refused.code.startswith("X-") and not converted.losses)
        for built in converted.rows:
            assert orjson.loads(orjson.dumps(built)) == json.loads(json.dumps(built))


@given(row=ROWS)
@PROPERTY
def test_the_kind_is_the_examples(row: Row) -> None:
    assert kind_of(row) == Example.model_validate(row).kind


@given(row=wild_rows())
@settings(PROPERTY, max_examples=200)
def test_what_is_exact_of_any_row_comes_back_unchanged(row: Row) -> None:
    for name, target in TARGETS.items():
        converted = target.convert(row)
        if not converted.losses:
            assert_exact_comes_back(name, row, converted)


@each_kind
@given(data=st.data())
@PROPERTY
def test_exact_comes_back_unchanged(kind: str, data: st.DataObject) -> None:
    row = data.draw(tidy_rows(kind))
    for name in of_kind(kind):
        assert_exact_comes_back(name, row, TARGETS[name].convert(row))


@each_target
def test_every_exact_cell_of_the_matrix_comes_back_unchanged(name: str) -> None:
    for cell in cells(TARGETS[name]):
        assert_exact_comes_back(name, cell.row, cell.converted)


def assert_exact_comes_back(name: str, row: Row, converted: Converted) -> None:
    """Read the rows of a conversion that lost nothing but the names of ids, and compare."""
    if converted.rows and {loss.code for loss in converted.losses} <= IDS_ONLY:
        parse = inverse.PARSERS[name]
        kept = inverse.KEPT.get(parse, inverse.Kept(ids=not converted.losses))
        back = parse(json.loads(json.dumps(converted.rows)))
        assert inverse.normalise(back, kind_of(row), kept) == inverse.normalise(row, kind_of(row), kept), name


@each_kind
@given(data=st.data())
@PROPERTY
def test_without_what_is_lost_a_row_is_exact(kind: str, data: st.DataObject) -> None:
    row = data.draw(tidy_rows(kind))
    for name in of_kind(kind):
        converted = TARGETS[name].convert(row)
        if converted.rows:
            assert_exact_in_the_end(name, row, converted)


def assert_exact_in_the_end(name: str, row: Row, converted: Converted) -> None:
    """Take out of a row what is lost, one feature after the other."""
    for _ in range(100):
        if not converted.losses:
            break
        if name == "gradient/inputs" and [loss.code for loss in converted.losses] == ["L-rendered"]:
            return  # there is no conversation that is not rendered
        row = without(row, converted.losses[-1])
        converted = TARGETS[name].convert(row)
        assert converted.refused is None, (name, row)
    assert converted.losses == (), (name, row)
    assert_exact_comes_back(name, row, converted)


def without(row: Row, loss: Loss) -> Row:
    """Return a row without the feature that was lost."""
    row = copy.deepcopy(row)
    path = [int(step) if step.isdigit() else step for step in (loss.path or "").split(".")]
    if loss.code == "L-rendered":
        last = max(
            n for n, turn in enumerate(row["messages"]) if turn["role"] == "assistant" and turn.get("weight") != 0
        )
        asked = [turn for turn in row["messages"][:last] if turn["role"] == "user"][-1:]
        row["messages"] = [*asked, row["messages"][last]]
    elif loss.code == "L-system-in-prompt":
        row["messages"] = [turn for turn in row["messages"] if turn["role"] not in ("system", "developer")]
    elif loss.code == "L-trailing-turns":
        row["messages"] = row["messages"][: path[1]]
    elif loss.code == "L-call-ids-renamed":
        return json.loads(json.dumps(row).replace('"call_', '"abcdefgh'))  # type: ignore[no-any-return]
    elif loss.code == "L-call-ids":
        row["messages"] = [turn for turn in row["messages"] if turn["role"] != "tool" and "tool_calls" not in turn]
    elif loss.code == "L-parts-joined":
        _set(row, path, "text")
    elif len(path) == 2 and path[1] == 0 and loss.code in ("L-developer", "L-template"):
        row["messages"][0]["role"] = "system"
    else:
        _remove(row, path)
    return row


def _set(row: Row, path: list[Any], value: Any) -> None:
    for step in path[:-1]:
        row = row[step]
    row[path[-1]] = value


def _remove(row: Any, path: list[Any]) -> None:
    for step in path[:-1]:
        row = row[step]
    del row[path[-1]]


@each_target
def test_a_target_can_be_sent_to_another_process(name: str) -> None:
    target, row = TARGETS[name], plain_row(kind_of_target(TARGETS[name]))
    assert pickle.loads(pickle.dumps(target)).convert(row) == target.convert(row)


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"a": NaN}', '{"a": 1, "a": 2}', '{"a": 1e400}', '{"a": "\\ud800"}'])
def test_arguments_that_are_no_object_or_would_change_are_none(text: str) -> None:
    assert parse_object(text) is None


def test_arguments_keep_numbers_that_a_double_holds() -> None:
    assert parse_object('{"a": 1180591620717411303424}') == {"a": 2**70}
    assert parse_object('{"a": 1180591620717411303425}') is None
