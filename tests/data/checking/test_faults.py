"""Every fault of the corpus is found, with its code and line; nothing is found where nothing is wrong."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import strategies as st  # noqa: E402

from tests.data.faults import FAULTS, GOOD_LINES, Fault, chat, good  # noqa: E402
from tunebridge.data.canonical import canonical_bytes  # noqa: E402
from tunebridge.data.checking.checks import check_row  # noqa: E402
from tunebridge.data.checking.scan import scan_rows  # noqa: E402
from tunebridge.data.engine.collect import Report  # noqa: E402
from tunebridge.data.engine.run import Reading, run, sources_of  # noqa: E402
from tunebridge.data.loading import reading_of  # noqa: E402
from tunebridge.spec import DataSpec  # noqa: E402

ENTRIES = Path(__file__).parents[3] / "examples" / "data" / "cpython_changelog" / "entries.jsonl.gz"


def check(path: Path) -> Report:
    """Return what is found in a file."""
    return run(reading_of(DataSpec(train=str(path))))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_fault_is_found(fault: Fault, tmp_path: Path) -> None:
    path = tmp_path / f"rows{fault.suffix}"
    before = () if fault.is_whole else tuple(good(number) for number in range(1, GOOD_LINES + 1))
    path.write_bytes(b"\n".join((*before, *fault.lines)))
    found = check(path).problems
    assert (fault.code, fault.line) in {(problem.code, problem.line) for problem in found}, [str(p) for p in found]
    if fault.code[0] == "W":
        assert not [problem for problem in found if problem.severity == "error"]
    for problem in found:
        assert problem.fix
        assert "4539" not in str(problem), "a value of the row is shown"
        assert "AKIA" not in str(problem), "a value of the row is shown"


def test_the_corpus_is_large_and_every_fault_has_a_report() -> None:
    assert len(FAULTS) >= 40
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert all(fault.source.startswith("https://github.com/") for fault in FAULTS)


def test_leakage_is_found_between_files(tmp_path: Path) -> None:
    # https://github.com/huggingface/datasets/issues/4261
    (tmp_path / "train.jsonl").write_bytes(b"\n".join(good(number) for number in range(5)))
    (tmp_path / "held_out.jsonl").write_bytes(good(9) + b"\n" + good(3))
    data = DataSpec(train=str(tmp_path / "train.jsonl"), validation=str(tmp_path / "held_out.jsonl"))
    (problem,) = run(reading_of(data)).problems
    assert (problem.code, problem.line, Path(problem.file or "").name) == ("W103", 2, "held_out.jsonl")


def test_rows_that_would_be_cut_are_counted(tmp_path: Path) -> None:
    # https://github.com/huggingface/transformers/issues/30998
    rows = [good(1), chat(("user", "a " * 50), ("assistant", "b")), chat(("user", "a"), ("assistant", "b " * 50))]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(rows))

    def count(row: object) -> int:
        return len(json.dumps(row).split())

    job = Reading(sources_of(str(tmp_path / "rows.jsonl")), count_tokens=count, max_tokens=40)
    (problem,) = run(job).problems
    assert (problem.code, problem.line) == ("W105", 2)
    assert "2 answers would be cut, 1 of them lost altogether" in problem.message


def test_one_answer_nearly_everywhere_is_told(tmp_path: Path) -> None:
    rows = [chat(("user", f"Is {number} odd?"), ("assistant", "no" if number else "yes")) for number in range(80)]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(rows))
    (problem,) = check(tmp_path / "rows.jsonl").problems
    assert problem.code == "W108"
    assert "99% of 80 answers" in problem.message


def test_real_rows_raise_no_false_alarm(tmp_path: Path) -> None:
    with gzip.open(ENTRIES) as file:
        entries = [json.loads(line) for line in file]
    rows = [chat(("user", entry["text"]), ("assistant", entry["area"])) for entry in entries]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(rows))
    report = check(tmp_path / "rows.jsonl")
    assert report.errors == 0
    assert report.rows == len(rows) > 6000
    assert report.problems == []


def test_made_rows_of_every_kind_of_turn_raise_no_alarm(tmp_path: Path) -> None:
    from benchmarks.data import make_rows

    make_rows(tmp_path / "rows.jsonl", 2000)
    report = check(tmp_path / "rows.jsonl")
    assert report.errors == 0
    assert set(report.counts) <= {"W101", "W103", "W104"}


def test_rows_in_many_scripts_raise_no_alarm(tmp_path: Path) -> None:
    texts = (
        "日本語の質問です。",
        "Сколько стоит билет?",
        "كم عمرك؟",
        "می‌خواهم بدانم",
        "👩‍👩‍👧 family",
        "naïve façade: 12.5 %",
        "a\u2028b",
    )
    rows = [chat(("user", f"{text} {n}"), ("assistant", f"{n}: {text}")) for n in range(20) for text in texts]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(rows))
    assert check(tmp_path / "rows.jsonl").problems == []


SECRETS = {
    "private key": "-----BEGIN RSA PRIVATE KEY-----",
    "OpenAI or similar key": "sk-proj-abcdefghij0123456789",
    "AWS access key": "AKIA" + "ABCDEFGH12345678",
    "Google API key": "AIza" + "b" * 34 + "1",
    "GitHub token": "ghp_" + "a1" * 18,
    "Hugging Face token": "hf_" + "a1" * 15,
    "Slack token": "xoxb-1234567890-abc",
    "Stripe key": "sk_live_" + "a1" * 10,
    "JSON web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4",
    "mail address": "kari@ols.no",
    "phone number": "+47 22 12 34 56",
    "card number": "4539 1488 0343 6467",
    "control characters": "\x07",
    "characters of no width": "\u200b",
}


@pytest.mark.parametrize("what", SECRETS)
@hypothesis.settings(max_examples=40, deadline=None, derandomize=True, database=None)
@hypothesis.given(
    before=st.text(max_size=10),
    after=st.text(max_size=10),
    ends=st.tuples(*[st.sampled_from([" ", "\n", '"', "\t", "("])] * 2),
)
def test_what_should_not_stand_in_a_row_is_found_wherever_it_stands(
    what: str, before: str, after: str, ends: tuple[str, str]
) -> None:
    said = f"{before}{ends[0]}{SECRETS[what]}{ends[1]}{after}"
    rows = [canonical_bytes({"messages": [{"role": "user", "content": text}]}) for text in ("Hi", said, "Hi")]
    found = list(scan_rows(rows))
    assert (1, what) in {(number, each.what) for number, each in found}
    assert {number for number, _ in found} == {1}


SCHEMAS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(
            ["string", "integer", "number", "boolean", "object", "array", "null", ["string", "null"]]
        ),
        "description": st.just("what it is"),
        "enum": st.just(["a", 1]),
        "const": st.just("a"),
        "required": st.just(["a"]),
        "additionalProperties": st.booleans(),
        "properties": st.fixed_dictionaries(
            {"a": st.fixed_dictionaries({"type": st.sampled_from(["string", "integer"])})}
        ),
        "items": st.fixed_dictionaries({"type": st.sampled_from(["string", "integer"])}),
    },
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["a", "b", 1.0, 1.5]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


@hypothesis.settings(max_examples=400, deadline=None, derandomize=True, database=None)
@hypothesis.given(
    properties=st.dictionaries(st.sampled_from("ab"), SCHEMAS, max_size=2),
    arguments=st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3),
    closed=st.booleans(),
)
def test_arguments_are_judged_as_jsonschema_judges_them(properties: Any, arguments: Any, closed: bool) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = {"type": "object", "properties": properties, "additionalProperties": not closed, "required": ["a"]}
    call = {"id": "c1", "function": {"name": "f", "arguments": json.dumps(arguments)}}
    row = {
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [call]}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
    }
    is_right = jsonschema.Draft202012Validator(schema).is_valid(arguments)
    assert is_right == (not [finding for finding in check_row(row) if finding.code == "E008"])
