"""The fast way and pydantic accept the same rows, in the same form; nothing is lost on the way."""

import json
from typing import Any

import orjson
import pytest

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import strategies as st  # noqa: E402
from pydantic import ValidationError  # noqa: E402

from tests.fuzz.rows import CHAT, FIELDS, lines  # noqa: E402
from tunebridge.data.canonical import canonical_row, features_of, kind_of, plain_roles  # noqa: E402
from tunebridge.data.checking.checks import check_row, plain_kind  # noqa: E402
from tunebridge.data.checking.digests import asked_and_answer, plain_asked_and_answer  # noqa: E402
from tunebridge.data.engine.batch import Recipe  # noqa: E402
from tunebridge.data.engine.convert import convert_batch  # noqa: E402
from tunebridge.data.example import Example  # noqa: E402
from tunebridge.data.reading.decode import WrongRow, decode, refuse_double_keys  # noqa: E402
from tunebridge.data.reading.readers import READERS  # noqa: E402

ROWS = CHAT | st.fixed_dictionaries({}, optional=FIELDS)
MANY = hypothesis.settings(max_examples=400, deadline=None, derandomize=True, database=None)


def plain(row: Any) -> Any:
    """Return a row as JSON gives it back: no numbers beyond 64 bits, no values of other types."""
    return orjson.loads(json.dumps(row))


@MANY
@hypothesis.given(row=ROWS)
def test_the_fast_way_says_yes_only_where_pydantic_does_and_gives_the_same(row: dict[str, Any]) -> None:
    row = plain(row)
    fast = canonical_row(row)
    try:
        slow = Example.model_validate(row)
    except ValidationError:
        assert fast is None
        assert plain_roles(row) is None
        return
    form = slow.to_json()
    if fast is not None:
        assert orjson.dumps(fast, option=orjson.OPT_SORT_KEYS) == orjson.dumps(form, option=orjson.OPT_SORT_KEYS)
    assert (kind_of(form), features_of(form)) == (slow.kind, slow.features)
    assert canonical_row(form) == form, "a canonical row takes the fast way"
    assert Example.model_validate(form) == slow


@MANY
@hypothesis.given(row=CHAT)
def test_plain_rows_are_judged_as_all_others(row: dict[str, Any]) -> None:
    row = plain(row)
    roles = plain_roles(row)
    if roles is None:
        return
    assert canonical_row(row) is row
    found = list(check_row(row))
    assert plain_kind(roles) == (None if found else kind_of(row))
    assert features_of(row) == frozenset()


@MANY
@hypothesis.given(row=ROWS)
def test_the_parts_of_a_row_make_it_up(row: dict[str, Any]) -> None:
    form = canonical_row(plain(row))
    if form is None or form.get("messages") == []:
        return
    text = orjson.dumps(form, option=orjson.OPT_SORT_KEYS)
    asked, answer = asked_and_answer(form)
    messages = list(form.get("messages", ()))
    is_answered = "preferred" not in form and messages and messages[-1]["role"] == "assistant"
    assert answer == (orjson.dumps(messages.pop(), option=orjson.OPT_SORT_KEYS) if is_answered else b"")
    assert asked == orjson.dumps(messages or form.get("text"), option=orjson.OPT_SORT_KEYS), "splits depend on it"
    if (roles := plain_roles(form)) is not None:
        assert plain_asked_and_answer(form, text, roles) == (asked, answer)


def _has_double_key(line: bytes) -> bool:
    doubles = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        doubles.append(len({name for name, _ in items}) < len(items))
        return dict(items)

    json.loads(line, object_pairs_hook=pairs)
    return any(doubles)


KEY = st.text(alphabet='ab"\\: ', max_size=3)


@MANY
@hypothesis.given(
    pairs=st.lists(st.tuples(KEY, KEY), max_size=4), escape=st.booleans(), space=st.sampled_from(["", " ", "\t"])
)
def test_a_double_key_is_found_exactly_where_there_is_one(
    pairs: list[tuple[str, str]], escape: bool, space: str
) -> None:
    def spelt(text: str) -> str:
        return '"' + "".join("\\u0022" if c == '"' and escape else json.dumps(c)[1:-1] for c in text) + '"'

    line = ("{" + ",".join(f"{spelt(key)}{space}:{space}{spelt(value)}" for key, value in pairs) + "}").encode()
    row = decode(line)
    if _has_double_key(line):
        with pytest.raises(WrongRow):
            refuse_double_keys(line, orjson.dumps(row))
    else:
        refuse_double_keys(line, orjson.dumps(row))


@MANY
@hypothesis.given(rows=st.lists(lines(), max_size=5))
def test_every_row_is_kept_or_rejected_and_none_is_lost(rows: list[bytes]) -> None:
    rows = [row.replace(b"\n", b" ") for row in rows]
    batch = convert_batch(rows, Recipe(READERS[0]))
    assert len(batch.train.rows) + len(batch.rejected) + batch.blank == len(rows)
    for row in batch.train.rows:
        example = Example.model_validate_json(row)
        assert orjson.dumps(example.to_json(), option=orjson.OPT_SORT_KEYS) == row
