"""Canonical rows for property tests: tidy ones that a service may take, and whatever else an Example allows."""

import json
from typing import Any

from hypothesis import strategies as st

from tunebridge.data.example import Example

Row = dict[str, Any]

CHARACTERS = st.characters(exclude_categories=["Cs"])
TEXTS = st.text(CHARACTERS, min_size=1, max_size=12)
NAMES = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=3)
ARGUMENTS = OBJECTS.map(json.dumps)
ADDRESSES = st.sampled_from(
    ["https://a.example/b.png", "data:image/png;base64,AAAA", "gs://bucket/b.jpg", "s3://bucket/b.jpeg"]
)
IMAGES = st.builds(
    lambda url, detail: {"type": "image_url", "image_url": {"url": url, **({"detail": detail} if detail else {})}},
    ADDRESSES,
    st.sampled_from([None, None, None, "low"]),
)
TEXT_PARTS = TEXTS.map(lambda text: {"type": "text", "text": text})
SCHEMAS = st.fixed_dictionaries(
    {
        "type": st.just("object"),
        "properties": st.dictionaries(
            NAMES,
            st.fixed_dictionaries(
                {"type": st.sampled_from(["string", "integer", "array", ["number", "null"]])},
                optional={"description": TEXTS, "enum": st.lists(TEXTS, min_size=1, max_size=2)},
            ),
            max_size=2,
        ),
    },
    optional={"required": st.lists(NAMES, max_size=2), "additionalProperties": st.booleans(), "$defs": OBJECTS},
)
TOOLS = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.just("function"),
            "function": st.fixed_dictionaries(
                {"name": NAMES}, optional={"description": TEXTS, "parameters": SCHEMAS, "strict": st.booleans()}
            ),
        }
    ),
    min_size=1,
    max_size=2,
)


def rarely(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return None mostly, so that most rows stay simple and some are exact everywhere."""
    return st.integers(0, 7).flatmap(lambda number: strategy if number == 0 else st.none())


def _with(turn: Row, **more: Any) -> Row:
    return {**turn, **{key: value for key, value in more.items() if value is not None}}


@st.composite
def user_turns(draw: st.DrawFn) -> Row:
    """A user's turn: mostly a text."""
    content: Any = draw(rarely(st.lists(TEXT_PARTS | IMAGES, min_size=1, max_size=3))) or draw(TEXTS)
    return _with({"role": "user", "content": content}, name=draw(rarely(NAMES)), weight=draw(rarely(st.just(0))))


@st.composite
def answers(draw: st.DrawFn) -> Row:
    """An assistant's turn with text."""
    content: Any = draw(rarely(st.lists(TEXT_PARTS, min_size=1, max_size=2))) or draw(TEXTS)
    return _with(
        {"role": "assistant", "content": content},
        weight=draw(rarely(st.sampled_from([0, 1, 0.5]))),
        reasoning=draw(rarely(TEXTS)),
        name=draw(rarely(NAMES)),
    )


@st.composite
def tool_exchanges(draw: st.DrawFn, first: int) -> list[Row]:
    """An assistant's calls and their results, each call answered, in any order."""
    count = draw(st.integers(1, 3))
    calls = [
        {
            "id": f"call_{first + number}",
            "type": "function",
            "function": {"name": draw(NAMES), "arguments": draw(ARGUMENTS)},
        }
        for number in range(count)
    ]
    asked = _with({"role": "assistant", "tool_calls": calls}, content=draw(rarely(TEXTS)))
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": draw(TEXTS | ARGUMENTS | st.just(""))} for call in calls
    ]
    return [asked, *draw(st.permutations(results))]


@st.composite
def conversations(draw: st.DrawFn, *, answered: bool = True) -> list[Row]:
    """A tidy conversation: a system turn or none, then users, tools and answers in turn."""
    turns: list[Row] = []
    if draw(st.booleans()):
        turns.append({"role": draw(st.sampled_from(["system"] * 4 + ["developer"])), "content": draw(TEXTS)})
    for number in range(draw(st.integers(1, 3))):
        turns += [draw(user_turns())]
        turns += draw(rarely(tool_exchanges(first=number * 3))) or []
        turns += [draw(answers())]
        turns += draw(rarely(TEXTS.map(lambda text: [{"role": "system", "content": text}]))) or []
    while turns[-1]["role"] == "system":
        turns.pop()
    return turns if answered else turns[:-1]


def _row(**fields: Any) -> Row:
    """Return the canonical form; weights of a prompt's answers are 0, or it would be an sft row."""
    return Example.model_validate({key: value for key, value in fields.items() if value is not None}).to_json()


BESIDE: dict[str, st.SearchStrategy[Any]] = {
    "tools": rarely(TOOLS),
    "parallel_tool_calls": rarely(st.booleans()),
    "id": rarely(TEXTS),
    "metadata": rarely(st.dictionaries(NAMES, TEXTS, min_size=1, max_size=2)),
    "reference": rarely(TEXTS | st.just(0)),
    "split": rarely(st.sampled_from(["train", "validation", "test"])),
}


@st.composite
def tidy_rows(draw: st.DrawFn, kind: str) -> Row:
    """A row of a kind as careful people write it."""
    beside = {key: draw(strategy) for key, strategy in BESIDE.items()}
    if kind == "text":
        return _row(text=draw(TEXTS), **{**beside, "tools": None})
    if kind == "sft":
        turns = draw(conversations())
        turns[-1].pop("weight", None) if turns[-1].get("weight") == 0 else None
        return _row(messages=turns, **beside)
    if kind == "kto":
        return _row(messages=draw(conversations()), label=draw(st.booleans()), **beside)
    context = draw(conversations(answered=False))
    if kind == "preference":
        return _row(messages=context, preferred=[draw(answers())], rejected=[draw(answers())], **beside)
    prompt = [{**turn, "weight": 0} if turn["role"] == "assistant" else turn for turn in context]
    return _row(messages=prompt, **beside)


@st.composite
def wild_turns(draw: st.DrawFn) -> Row:
    """Any turn that a Message allows, sensible or not."""
    content = st.none() | st.just("") | TEXTS | st.lists(TEXT_PARTS | IMAGES, max_size=3)
    call = st.fixed_dictionaries(
        {
            "id": st.sampled_from(["a", "b", ""]),
            "function": st.fixed_dictionaries({"name": NAMES, "arguments": ARGUMENTS | TEXTS | st.just("[1]")}),
        }
    )
    return _with(
        {"role": draw(st.sampled_from(["system", "developer", "user", "assistant", "tool"]))},
        content=draw(content),
        name=draw(rarely(st.just("") | NAMES)),
        tool_calls=draw(rarely(st.lists(call, max_size=2))),
        tool_call_id=draw(rarely(st.sampled_from(["a", "b", "c"]))),
        reasoning=draw(rarely(st.just("") | TEXTS)),
        weight=draw(rarely(st.sampled_from([0, 0.5, 1, 7]))),
    )


@st.composite
def wild_rows(draw: st.DrawFn) -> Row:
    """Any row that an Example allows, sensible or not."""
    turns = st.lists(wild_turns(), max_size=4)
    beside = {key: draw(strategy) for key, strategy in BESIDE.items()}
    beside["tools"] = draw(rarely(st.lists(OBJECTS, max_size=2) | TOOLS))
    beside["label"] = draw(rarely(st.booleans()))
    pair = {"preferred": draw(turns), "rejected": draw(turns)} if draw(st.integers(0, 3)) == 0 else {}
    body = {"text": draw(st.just("") | TEXTS)} if draw(st.integers(0, 5)) == 0 else {"messages": draw(turns)}
    return _row(**body, **pair, **beside)


ROWS = st.one_of(wild_rows(), *(tidy_rows(kind) for kind in ("sft", "preference", "kto", "prompt_only", "text")))
