"""Counting tokens: exact where the tokenizer is at hand, otherwise honest intervals."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunebridge.data.counting import proxies
from tunebridge.data.counting.counters import counter_for, encoding_name, family_of
from tunebridge.data.counting.counts import TokenCount
from tunebridge.data.counting.encodings import SOURCES, ranks
from tunebridge.data.counting.report import count_rows
from tunebridge.data.example import Example
from tunebridge.data.targets import LocatedRow
from tunebridge.errors import DataError, MissingDependency
from tunebridge.testing.case import small_dataset

try:
    import tiktoken
except ImportError:
    tiktoken = None  # type: ignore[assignment]

needs_tiktoken = pytest.mark.skipif(tiktoken is None, reason="needs the extra `tokens`")
MODELS = ("gpt-4.1-mini", "gpt-3.5-turbo", "Qwen/Qwen3-0.6B", "gemini-2.5-flash", "somebody/model")

# The example of OpenAI's cookbook (How_to_count_tokens_with_tiktoken.ipynb, MIT), with what the API counted.
JARGON = [
    (
        "system",
        None,
        "You are a helpful, pattern-following assistant that translates corporate jargon into plain English.",
    ),
    ("system", "example_user", "New synergies will help drive top-line growth."),
    ("system", "example_assistant", "Things working well together will increase revenue."),
    (
        "system",
        "example_user",
        "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
    ),
    ("system", "example_assistant", "Let's talk later when we're less busy about how to do better."),
    ("user", None, "This late pivot means we don't have time to boil the ocean for the client deliverable."),
]
WEATHER = [
    ("system", None, "You are a helpful assistant that can answer to questions about the weather."),
    ("user", None, "What's the weather like in San Francisco?"),
]
WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_current_weather",
        "description": "Get the current weather in a given location",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
                "unit": {
                    "type": "string",
                    "description": "The unit of temperature to return",
                    "enum": ["celsius", "fahrenheit"],
                },
            },
            "required": ["location"],
        },
    },
}


def messages(turns: list[tuple[str, str | None, str]]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content, **({"name": name} if name else {})} for role, name, content in turns]


@pytest.mark.parametrize("name", SOURCES)
def test_the_shipped_ranks_are_openais(name: str) -> None:
    assert hashlib.sha256(ranks(name)).hexdigest() == SOURCES[name].sha256


@needs_tiktoken
@pytest.mark.parametrize("name", SOURCES)
def test_patterns_and_special_tokens_are_tiktokens(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiktoken_ext import openai_public

    digests = []
    monkeypatch.setattr(
        openai_public, "load_tiktoken_bpe", lambda url, expected_hash: digests.append(expected_hash) or {b"a": 0}
    )
    theirs = getattr(openai_public, name)()
    assert theirs["special_tokens"] == SOURCES[name].special_tokens
    assert theirs["pat_str"] == SOURCES[name].pattern
    assert digests == [SOURCES[name].sha256]


@needs_tiktoken
def test_texts_are_counted_as_tiktoken_does() -> None:
    from tunebridge.data.counting.encodings import encoding

    assert encoding("o200k_base").encode("hello world") == [24912, 2375]
    assert encoding("cl100k_base").encode("hello world") == [15339, 1917]
    assert counter_for("gpt-4o").count_text("hello world") == TokenCount(2, 2, 2, True, "o200k_base")
    assert counter_for("gpt-4").count_text("<|endoftext|>").likely == 7  # a row's text is never a special token


@needs_tiktoken
@pytest.mark.parametrize(("model", "jargon", "weather"), [("gpt-4o", 124, 101), ("gpt-4", 129, 105)])
def test_rows_are_counted_as_the_api_counted_them(model: str, jargon: int, weather: int) -> None:
    counter = counter_for(model)
    count = counter.count_row({"messages": messages(JARGON)})
    assert (count.likely, count.exact) == (jargon, True)
    with_tools = counter.count_row({"messages": messages(WEATHER), "tools": [WEATHER_TOOL]})
    assert with_tools.low <= weather <= with_tools.high
    assert not with_tools.exact
    assert "tools" in with_tools.method


@pytest.mark.parametrize(
    ("model", "encoding", "family"),
    [
        ("gpt-4.1-mini-2025-04-14", "o200k_base", None),
        ("ft:gpt-4o-mini-2024-07-18:acme::a1", "o200k_base", None),
        ("openai/gpt-5.1", "o200k_base", None),
        ("o4-mini", "o200k_base", None),
        ("gpt-4-0613", "cl100k_base", None),
        ("gpt-35-turbo", "cl100k_base", None),
        ("gpt-4.2", None, None),
        ("openai/gpt-oss-20b", None, "gpt-oss"),
        ("meta-llama/Llama-3.2-1B", None, "llama3"),
        ("meta.llama3-1-8b-instruct-v1:0", None, "llama3"),
        ("Qwen/Qwen3-0.6B", None, "qwen"),
        ("gemini-2.5-flash", None, "gemma"),
        ("amazon.nova-lite-v1:0", None, None),
    ],
)
def test_models_are_known_by_their_names(model: str, encoding: str | None, family: str | None) -> None:
    assert encoding_name(model) == encoding
    assert family_of(model) == family


def test_the_measured_ratios_lie_inside_the_intervals() -> None:
    """The figures of the table, language by language, for each family and for an unknown model."""
    table = proxies.table()
    rates = table["characters_per_token"]
    for script, languages in table["scripts"].items():
        for family in table["families"]:
            for language in languages:
                measured = rates[proxies.PROXY][language] / rates[family][language]
                for known in (family, None):
                    low, _, high = proxies.script_ratio(script, known)
                    assert low <= measured <= high, (script, language, family)
    assert proxies.script_ratio("LATIN", None).low == pytest.approx(0.8, rel=0.02)
    assert proxies.script_ratio("DEVANAGARI", "qwen").likely == pytest.approx(3.30 / 1.25)
    assert proxies.script_ratio("TAMIL", None)[::2] == proxies.UNMEASURED


TEXTS = st.text() | st.sampled_from(
    ["Grüße", "日本語のテキスト", "नमस्ते दुनिया", "שלום", '{"a": [1, 2]}', "ภาษาไทย", "தமிழ்"]
)
TURNS = st.builds(
    lambda role, content, weight: {
        "role": role,
        "content": content,
        **({"weight": weight} if weight is not None else {}),
    },
    st.sampled_from(["system", "user", "assistant"]),
    TEXTS,
    st.sampled_from([None, 0, 1]),
)


@needs_tiktoken
@pytest.mark.parametrize("model", MODELS)
@settings(deadline=None)
@given(turns=st.lists(TURNS, min_size=1, max_size=4))
def test_counts_add_up_and_are_ordered(model: str, turns: list[dict[str, Any]]) -> None:
    counter = counter_for(model)
    parts = counter.count_parts({"messages": turns})
    total = counter.count_row({"messages": turns})
    for place in ("low", "likely", "high"):
        assert getattr(total, place) == getattr(parts.trained, place) + getattr(parts.prompt, place)
    for count in (total, parts.trained, parts.prompt, parts.longest):
        assert 0 <= count.low <= count.likely <= count.high
        assert count.exact == (model in MODELS[:2])
        if count.exact:
            assert count.low == count.high
    assert parts.longest == total
    said = [turn["content"] for turn in turns if turn["role"] == "assistant" and turn.get("weight") != 0]
    assert (parts.trained.likely > 0) == any(said)


@needs_tiktoken
@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_joining_texts_never_costs_more_than_their_bytes(one: str, other: str) -> None:
    count = counter_for("gpt-4o").count_text
    assert count(one + other).likely <= len((one + other).encode("utf-8", "surrogatepass"))
    assert (count(one) + count(other)).likely == count(one).likely + count(other).likely


def test_a_sum_is_as_exact_as_its_weaker_part() -> None:
    exact, about = TokenCount(3, 3, 3, True, "a"), TokenCount(1, 2, 4, False, "b")
    assert exact + about == about + exact == TokenCount(4, 5, 7, False, "b")
    assert exact + exact == TokenCount(6, 6, 6, True, "a")


@needs_tiktoken
def test_what_is_not_published_widens_the_interval() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"at": "sky"}'}}
    counter = counter_for("gpt-4o")
    plain = counter.count_row({"messages": [{"role": "assistant", "content": "look"}]})
    called = counter.count_row({"messages": [{"role": "assistant", "content": "", "tool_calls": [call]}]})
    thought = counter.count_row({"messages": [{"role": "assistant", "content": "look", "reasoning": "Up?"}]})
    assert plain.exact
    assert not called.exact
    assert (thought.low, thought.likely) == (plain.low, plain.likely)
    assert thought.high > plain.high
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    seen = counter.count_parts({"messages": [{"role": "user", "content": [{"type": "text", "text": "look"}, image]}]})
    assert seen.images == 1
    assert seen.prompt.likely == plain.likely


@needs_tiktoken
def test_a_preference_is_two_sequences() -> None:
    row = small_dataset(kind="preference").train.examples[0].to_json()
    counter = counter_for("gpt-4o")
    both = counter.count_parts(row)
    one = counter.count_parts({"messages": [*row["messages"], *row["preferred"]]})
    assert both.trained.likely == 2 * one.trained.likely
    assert both.prompt.likely == 2 * one.prompt.likely
    assert both.longest.likely == one.longest.likely


@needs_tiktoken
def test_a_text_that_would_end_tiktoken_is_refused() -> None:
    with pytest.raises(DataError, match="blanks in one piece"):
        counter_for("gpt-4o").count_text(" " * 1_000_000)
    assert counter_for("gpt-4o").count_text("a" * 600_000).likely == 75_000


def test_without_tiktoken_the_command_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from tunebridge.data.counting.encodings import encoding

    encoding.cache_clear()
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(MissingDependency, match=r'pip install "tunebridge\[tokens\]"'):
        counter_for("gpt-4o")


@needs_tiktoken
def test_nothing_is_downloaded() -> None:
    """A cache that cannot be written and a socket that cannot be opened change nothing."""
    code = (
        "import socket\n"
        "def no(*a, **k): raise AssertionError('a socket')\n"
        "socket.socket.connect = socket.getaddrinfo = no\n"
        "from tunebridge.data.counting.counters import counter_for\n"
        "print(counter_for('gpt-4o').count_text('hello world').likely)"
    )
    environment = {**os.environ, "TIKTOKEN_CACHE_DIR": "/nowhere"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2"


@pytest.mark.torch
def test_a_model_at_hand_counts_as_the_trainer_does() -> None:
    from tunebridge.data.rendering.render import render
    from tunebridge.training.tokenizer import load_tokenizer

    tokenizer, counter = load_tokenizer("tunebridge/nano"), counter_for("tunebridge/nano")
    for example in (*small_dataset().train, *small_dataset(kind="text").train):
        row, parts = render(example, tokenizer), counter.count_parts(example.to_json())
        assert parts.total.likely == parts.longest.likely == len(row.token_ids)
        assert parts.trained.likely == row.trained_tokens
        assert parts.total.exact
    preference = small_dataset(kind="preference").train.examples[0]
    answers = [
        render(Example(messages=(*preference.messages, *said)), tokenizer)
        for said in (preference.preferred, preference.rejected)
    ]
    parts = counter.count_parts(preference.to_json())
    assert parts.trained.likely == sum(row.trained_tokens for row in answers)
    assert parts.longest.likely == max(len(row.token_ids) for row in answers)
    with pytest.raises(DataError, match=r"a\.jsonl:7: a turn has the weight 0\.5"):
        count_rows([LocatedRow(7, _weighted(0.5).to_json())], counter, file="a.jsonl", max_length=None)


def _weighted(weight: float) -> Example:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": weight}]
    return Example.model_validate({"messages": turns})


@needs_tiktoken
def test_files_are_counted_by_split() -> None:
    rows = [LocatedRow(line, example.to_json()) for line, example in enumerate(small_dataset(rows=6).train, start=1)]
    held_out = LocatedRow(7, {**rows[0].row, "split": "validation"})
    longer = LocatedRow(8, {"messages": messages([*JARGON, ("assistant", None, "Later.")])})
    train, validation = count_rows([*rows, held_out, longer], counter_for("gpt-4o"), file="a", max_length=50)
    assert (train.split, train.rows, validation.split, validation.rows) == ("train", 7, "validation", 1)
    assert train.longest[0][1] == 8
    assert (train.too_long, train.perhaps_too_long, validation.too_long) == (1, 1, 0)
    assert train.total.likely == train.trained.likely + train.prompt.likely


@needs_tiktoken
def test_the_command_prints_totals(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    small_dataset().train.write(file)

    def tokens(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tunebridge", "data", "tokens", str(file), *arguments]
        environment = {**os.environ, "COLUMNS": "160"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

    document = json.loads(tokens("--model", "gpt-4o", "--max-length", "8", "--json").stdout)
    [split] = document["splits"]
    assert split["total"]["exact"]
    assert (split["rows"], split["too_long"]) == (12, 12)
    assert "estimated, between" in tokens("--model", "Qwen/Qwen3-0.6B").stdout
    missing = tokens()
    assert missing.returncode == 2
    assert "Give --model" in missing.stderr
