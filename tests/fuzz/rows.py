"""Rows as people write them, and what breaks them: hypothesis strategies for the readers' tests and the fuzz run."""

import gzip
import json
from typing import Any

from hypothesis import strategies as st

TEXT = st.text(max_size=40) | st.sampled_from(
    [
        "",
        " ",
        "a",
        "\ufeff",
        "\u200b",
        "\u2028",
        '"',
        "\\",
        '{"a": 1}',
        "me@site.org",
        "4111 1111 1111 1111",
        "sk-" + "a1" * 12,
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool", "function", "", "model", "human", "gpt"])
PARTS = st.lists(
    st.builds(lambda text: {"type": "text", "text": text}, TEXT)
    | st.builds(lambda url: {"type": "image_url", "image_url": {"url": url}}, TEXT)
    | st.builds(lambda kind, inner: {kind: inner}, st.sampled_from(["text", "toolUse", "image", "type"]), JSON),
    max_size=3,
)
CALLS = st.lists(
    st.fixed_dictionaries(
        {"function": st.fixed_dictionaries({"name": TEXT, "arguments": TEXT | JSON})},
        optional={"id": TEXT, "type": st.sampled_from(["function", "other"])},
    ),
    max_size=2,
)
MESSAGES = st.fixed_dictionaries(
    {"role": ROLES},
    optional={
        "content": TEXT | PARTS | JSON,
        "name": TEXT | st.none(),
        "tool_calls": CALLS | JSON,
        "tool_call_id": TEXT | st.none(),
        "reasoning": TEXT | st.none(),
        "weight": st.sampled_from([0, 1, 0.5, -1, True, "1", None]),
        "extra": JSON,
    },
)
PLAIN = st.builds(
    lambda pairs: [
        turn
        for asked, answered in pairs
        for turn in ({"role": "user", "content": asked}, {"role": "assistant", "content": answered})
    ],
    st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3),
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "messages": PLAIN | st.lists(MESSAGES, max_size=4) | JSON,
    "text": TEXT | JSON,
    "tools": st.lists(st.dictionaries(TEXT, JSON, max_size=2), max_size=2) | JSON,
    "parallel_tool_calls": st.booleans() | JSON,
    "preferred": PLAIN | JSON,
    "rejected": PLAIN | JSON,
    "label": st.booleans() | JSON,
    "reference": JSON,
    "id": TEXT | JSON,
    "metadata": st.dictionaries(TEXT, JSON, max_size=2) | JSON,
    "split": st.sampled_from(["train", "validation", "test", "other", None]),
    "extra": JSON,
}
CHAT = st.fixed_dictionaries(
    {"messages": PLAIN | st.lists(MESSAGES, max_size=4)},
    optional={key: values for key, values in FIELDS.items() if key != "messages"},
)
OTHER_KEYS = """
prompt completion chosen rejected instruction input output system history conversations contents systemInstruction
completions tools toolConfig preferred_output non_preferred_output kto_tag text label
""".split()  # noqa: SIM905  # shorter to read
OTHERS = st.dictionaries(
    st.sampled_from(OTHER_KEYS), TEXT | PLAIN | JSON | st.lists(st.fixed_dictionaries({"from": ROLES, "value": TEXT}))
)
ROWS = CHAT | st.fixed_dictionaries({}, optional=FIELDS) | OTHERS


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """Return one line: a row, a row with a wound, or noise."""
    row = draw(ROWS)
    style = draw(st.sampled_from([{}, {"ensure_ascii": False}, {"separators": (",", ":")}]))
    line = json.dumps(row, **style).encode(errors="surrogatepass")
    wound = draw(st.integers(0, 9))
    if wound == 0 and line:
        at = draw(st.integers(0, len(line) - 1))
        line = line[:at] + draw(st.binary(max_size=3)) + line[at + draw(st.integers(0, 3)) :]
    elif wound == 1:
        line = line[:-1] + b', "messages": []}'
    elif wound == 2:
        line = draw(st.binary(max_size=30))
    return line


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes]:
    """Return a file's name and what is in it."""
    rows = draw(st.lists(lines(), max_size=6))
    suffix = draw(st.sampled_from([".jsonl", ".json", ".csv", ".tsv", ".jsonl.gz", ".parquet", ".arrow", ".json.zst"]))
    joiner = b"," if ".json" in suffix and ".jsonl" not in suffix else draw(st.sampled_from([b"\n", b"\r\n", b"\n\n"]))
    data = joiner.join(rows)
    if joiner == b",":
        data = draw(st.sampled_from([b"[%b]", b"[\n%b\n]", b"[%b", b"%b", b"[%b,]"])).replace(b"%b", data)
    data = draw(st.sampled_from([b"", b"", b"", b"\xef\xbb\xbf", b"\xff\xfe"])) + data
    if suffix.endswith(".gz"):
        data = gzip.compress(data)
        if draw(st.integers(0, 9)) == 0:
            data = data[: len(data) // 2]
    return "rows" + suffix, data
