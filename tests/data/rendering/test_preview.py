"""What the preview shows and warns of, and that it is what the trainer trains on."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunebridge.cli.preview_page import page, shown
from tunebridge.data.example import Example, Message
from tunebridge.data.problems import Problem
from tunebridge.data.rendering.preview import (
    Preview,
    RowPreview,
    Span,
    check_rendered,
    check_template,
    group,
    preview_row,
    visible,
)
from tunebridge.data.rendering.process import Renderer, preview_rows
from tunebridge.data.rendering.render import RenderedRow, end_tokens, render
from tunebridge.data.targets import LocatedRow
from tunebridge.errors import SpecError, TuneBridgeError

torch = pytest.mark.torch
QUESTION = Message(role="user", content="What is the colour of ball 3?")
NASTY = (
    "\x1b[2J\x1b]0;owned\x07 [bold]no[/bold] <script>alert(1)</script> \u202egnirts\u202c "
    "a\u200bb \r\x00 &amp; \U000e0041\u3164"
)
SAFE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\u3164\U000e0000-\U000e007f]")


@pytest.fixture
def tokenizer() -> Any:
    from tunebridge.training.tokenizer import load_tokenizer

    return load_tokenizer("tunebridge/nano")


@cache
def nano() -> Any:
    """Return nano's tokenizer, which nobody may change."""
    from tunebridge.training.tokenizer import load_tokenizer

    return load_tokenizer("tunebridge/nano")


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer("tunebridge/nano") as made:
        yield made


def chat(answer: str, *, question: str = "What is the colour of ball 3?", weight: float | None = None) -> Example:
    asked = Message(role="user", content=question)
    return Example(messages=(asked, Message(role="assistant", content=answer, weight=weight)))


def codes(example: Example, tokenizer: Any, *, max_length: int = 1024) -> list[str]:
    found = check_rendered(render(example, tokenizer), tokenizer, ends=end_tokens(tokenizer), max_length=max_length)
    return [problem.code for problem in found]


@torch
def test_a_good_row_has_no_warning(tokenizer: Any) -> None:
    assert codes(chat("red"), tokenizer) == []
    assert list(check_template(tokenizer)) == []
    assert codes(Example(text="Ball 1 is red."), tokenizer) == []


@torch
def test_t001_the_end_token_is_not_trained(tokenizer: Any) -> None:
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{{- '<|im_end|>' }}{%- endgeneration %}", "{%- endgeneration %}{{- '<|im_end|>' }}"
    )
    assert codes(chat("red"), tokenizer) == ["T001"]


@torch
def test_t002_the_template_has_no_marks(tokenizer: Any) -> None:
    tokenizer.chat_template = re.sub(r"\{%- (end)?generation %\}", "", tokenizer.chat_template)
    assert [problem.code for problem in check_template(tokenizer)] == ["T002"]
    assert codes(chat("red"), tokenizer) == []


@torch
def test_t003_no_token_is_trained(tokenizer: Any) -> None:
    assert codes(chat("red", weight=0), tokenizer) == ["T003"]
    assert codes(chat("red"), tokenizer, max_length=10) == ["T003"]


@torch
def test_t004_the_beginning_stands_twice(tokenizer: Any) -> None:
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    assert codes(chat("red"), tokenizer) == []
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    assert codes(chat("red"), tokenizer) == ["T004"]


@torch
@pytest.mark.parametrize(
    ("answer", "found"), [("<think>\n\n</think>\n\nred", ["T005"]), ("<think>\nWell.\n</think>\n\nred", [])]
)
def test_t005_an_empty_thought_is_trained(answer: str, found: list[str], tokenizer: Any) -> None:
    assert codes(chat(answer), tokenizer) == found
    assert codes(chat("red", question=answer), tokenizer) == []  # in the question it is only read


@torch
def test_t006_an_answer_is_cut(tokenizer: Any) -> None:
    row = render(chat("red and blue and green"), tokenizer)
    [problem] = check_rendered(row, tokenizer, ends=end_tokens(tokenizer), max_length=len(row.token_ids) - 4)
    assert problem.code == "T006"
    assert problem.message == f"max_length {len(row.token_ids) - 4} cuts 3 of {row.trained_tokens} trained tokens"


@torch
@settings(deadline=None)
@given(st.text(min_size=1), st.integers(8, 60))
def test_spans_are_the_row(answer: str, max_length: int) -> None:
    tokenizer = nano()
    row = render(chat(answer), tokenizer)
    made = preview_row(row, tokenizer, line=1, max_length=max_length)
    assert sum(span.tokens for span in made.spans) == len(row.token_ids) == made.tokens
    assert sum(span.tokens for span in made.spans if span.is_trained) == sum(row.is_trained)
    assert sum(span.tokens for span in made.spans if span.is_cut) == made.cut_tokens
    if not made.cut_tokens:  # a cut may fall inside a character
        assert "".join(span.text for span in made.spans) == tokenizer.decode(row.token_ids)


@torch
def test_the_preview_is_what_the_trainer_trains_on(renderer: Renderer, tokenizer: Any, tmp_path: Path) -> None:
    """The trainer's rows, masks and cuts come from `rows.render_split`; the preview's are the same."""
    from tests.training.runs import CONFIG
    from tunebridge.data.dataset import Split
    from tunebridge.training.rows import render_split

    examples = (chat("red"), chat("red and blue " * 5), Example(text="Ball 1 is red."))
    run = CONFIG.model_copy(update={"max_length": 40, "too_long": "truncate"})
    trained = render_split(Split(examples), tokenizer, run)
    rows = [LocatedRow(line, example.to_json()) for line, example in enumerate(examples, start=1)]
    made = preview_rows(renderer, rows, file="a.jsonl", max_length=40, shown=3, checked=0)
    assert any(row.cut_tokens for row in made.rows)
    for ours, [theirs] in zip(made.rows, (unit.rows for unit in trained.units), strict=True):
        assert RenderedRow(list(ours.token_ids), list(ours.is_trained)).cut(40) == theirs
        assert ours.trained_tokens == theirs.trained_tokens


@torch
def test_the_trainer_warns_too(tmp_path: Path) -> None:
    from tests.training.runs import lines, make_run, train
    from tunebridge.data.dataset import Split

    folder = make_run(tmp_path / "run", max_steps=1)
    Split((chat("<think>\n</think>red"), chat("blue"), chat("<think></think>green"))).write(folder / "train.jsonl")
    assert train(folder) == 0
    [warning] = [line for line in lines(folder) if line.get("kind") == "warning"]
    assert warning["id"] == "T005"
    assert "2 rows: lines 1, 3" in warning["message"]
    assert warning["data"] == {"line": 1}


@torch
def test_a_row_that_cannot_be_rendered_is_shown_with_its_line(renderer: Renderer) -> None:
    rows = [LocatedRow(4, chat("red", weight=0.5).to_json()), LocatedRow(5, chat("red").to_json())]
    made = preview_rows(renderer, rows, file="a.jsonl", max_length=64, shown=2, checked=2)
    [problem] = made.problems
    assert (problem.code, problem.severity, problem.file, problem.line) == ("T000", "error", "a.jsonl", 4)
    assert [row.line for row in made.rows] == [5]


@torch
def test_a_model_without_files_is_refused(tmp_path: Path) -> None:
    with Renderer(str(tmp_path)) as renderer, pytest.raises(SpecError, match="no model folder"):
        renderer.check_template()


@torch
def test_a_process_that_dies_is_told(renderer: Renderer) -> None:
    with Renderer("tunebridge/nano") as mortal:
        assert mortal.count_text("a") == 1
        assert mortal._process
        mortal._process.kill()
        mortal._process.wait()
        with pytest.raises(TuneBridgeError, match="has ended"):
            mortal.count_text("a")
        assert mortal.count_text("a") == 1


@torch
def test_rendering_loads_no_torch_here_and_there() -> None:
    code = (
        "import sys; from tunebridge.data.rendering.process import Renderer\n"
        "from tunebridge.training import rendering\n"
        "with Renderer('tunebridge/nano') as r: r.count_text('a')\n"
        "print(*{'torch', 'transformers'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_problems_are_grouped_by_code() -> None:
    def problem(code: str, line: int) -> Problem:
        return Problem(code=code, severity="warning", message="odd", fix="Mend.", file="a", line=line)

    [first, second] = group([problem("T003", 1), problem("T001", 2), *(problem("T003", n) for n in range(3, 9))])
    assert first.message == "odd (7 rows: lines 1, 3, 4, 5, 6, ...)"
    assert second.message == "odd"


def preview_of(text: str) -> Preview:
    span = Span(text=text, tokens=3, is_trained=True)
    row = RowPreview(
        line=1, tokens=3, trained_tokens=3, cut_tokens=0, spans=(span,), token_ids=(1, 2, 3), is_trained=(True,) * 3
    )
    problem = Problem(code="T001", severity="warning", message=text, fix="Mend.", file=text, line=1)
    return Preview(model=text, max_length=8, checked_rows=1, rows=(row,), problems=(problem,))


@settings(deadline=None)
@given(st.text() | st.just(NASTY))
def test_text_of_rows_commands_nothing(text: str) -> None:
    made = preview_of(text)
    assert not SAFE.search(visible(text))
    assert not SAFE.search(shown(made.rows[0], 8).plain)
    written = page(made)
    assert not SAFE.search(written)
    body = written.split("<body>")[1]
    assert set(re.findall(r"<[^>]*>", body)) <= {
        *(
            "<h1>",
            "</h1>",
            "<h2>",
            "</h2>",
            "<p>",
            "</p>",
            "<pre>",
            "</pre>",
            "<span>",
            "</span>",
            "</body>",
            "</html>",
        ),
        *('<span class="trained">', '<span class="cut">', '<p class="warning">'),
    }


def test_a_page_loads_nothing() -> None:
    written = page(preview_of("x"))
    assert "default-src 'none'" in written
    assert "http" not in written.replace("http-equiv", "")


def test_long_texts_are_shortened_on_the_terminal_only() -> None:
    made = preview_of("a" * 5000)
    assert "3,800 characters" in shown(made.rows[0], 8).plain
    assert "a" * 5000 in page(made)


def test_without_colours_the_trained_tokens_stand_in_brackets() -> None:
    spans = (Span(text="ask", tokens=1, is_trained=False), Span(text="red", tokens=1, is_trained=True))
    cut = Span(text="end", tokens=1, is_trained=True, is_cut=True)
    row = preview_of("x").rows[0].model_copy(update={"spans": (*spans, cut)})
    assert shown(row, 8, with_marks=True).plain.endswith("ask⟦red⟧ ✂ max_length 8 end")


def tunebridge(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tunebridge", "data", *arguments]
    return subprocess.run(
        command, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True, check=False, timeout=120
    )


@torch
def test_the_command_shows_and_writes(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    lines = [chat(NASTY).to_json(), chat("blue").to_json()]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = tunebridge("preview", str(file), "--rows", "2", "--html", str(tmp_path / "page.html"))
    assert done.returncode == 0, done.stderr
    assert "⟦blue<|im_end|>⟧" in done.stdout
    assert not SAFE.search(done.stdout)
    assert "alert(1)" in (tmp_path / "page.html").read_text()
    document = json.loads(tunebridge("preview", str(file), "--max-length", "30", "--json").stdout)
    assert [row["line"] for row in document["rows"]] == [1, 2]
    assert document["rows"][0]["cut_tokens"] > 0
    assert {problem["code"] for problem in document["problems"]} == {"T006"}


@torch
def test_the_command_says_what_it_cannot_do(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text(json.dumps(chat("red").to_json()) + "\n")
    closed = tunebridge("preview", str(file), "--model", "gpt-4.1-mini")
    assert closed.returncode == 2
    assert "does not publish the chat template" in closed.stderr
    unknown = tunebridge("preview", str(file), "--for", "locla")
    assert unknown.returncode == 2
    assert "Did you mean 'local'" in unknown.stderr
    file.write_text(json.dumps(chat("red", weight=0.5).to_json()) + "\n")
    assert tunebridge("preview", str(file)).returncode == 2


@torch
def test_a_preference_is_shown_with_each_answer(renderer: Renderer) -> None:
    red, blue = (Message(role="assistant", content=colour) for colour in ("red", "blue"))
    row = Example(messages=(QUESTION,), preferred=(red,), rejected=(blue,)).to_json()
    made = preview_rows(renderer, [LocatedRow(1, row)], file="a.jsonl", max_length=64, shown=1, checked=1)
    assert [row.answer for row in made.rows] == ["preferred", "rejected"]
    assert [row.spans[1].text for row in made.rows] == ["red<|im_end|>", "blue<|im_end|>"]
    assert "Line 1, rejected answer" in shown(made.rows[1], 64).plain
    assert made.problems == ()
