"""Which tokens are trained, beside TRL: the same template and rows give the same tokens and the same labels."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tunebridge.data.example import Example
from tunebridge.data.rendering.render import RenderedRow, render

pytestmark = [pytest.mark.torch, pytest.mark.slow]
pytest.importorskip("trl", reason="TRL is the peer; `make test-parity` installs it")

from tests.parity.mask_cases import MARKED, TEXTS, UNMARKED, chats, completions  # noqa: E402

ROOT = Path(__file__).parent.parent.parent
NOT_TRAINED = -100


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, list[int]]]]:
    """Return the rows that TRL made, by case."""
    out = tmp_path_factory.mktemp("masks") / "rows.json"
    command = [sys.executable, "-m", "tests.parity.mask_peer", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


def labels(row: RenderedRow) -> list[int]:
    return [token if mark else NOT_TRAINED for token, mark in zip(*row, strict=True)]


def differing(row: RenderedRow, theirs: list[int], tokenizer: Any) -> set[str]:
    """Return the texts of the tokens that only one of the two trains."""
    pairs = zip(row.token_ids, row.is_trained, theirs, strict=True)
    return {tokenizer.decode([token]) for token, mark, label in pairs if mark != (label != NOT_TRAINED)}


def ours(examples: list[Example], tokenizer: Any) -> list[RenderedRow]:
    return [render(example, tokenizer) for example in examples]


@pytest.mark.parametrize("name", MARKED)
def test_conversations_have_the_peers_labels(name: str, peer: dict[str, Any]) -> None:
    rows = ours(chats(MARKED[name]), MARKED[name].tokenizer())
    assert len(rows) >= 2
    assert [row.token_ids for row in rows] == [row["input_ids"] for row in peer[f"{name} chats"]]
    assert [labels(row) for row in rows] == [row["labels"] for row in peer[f"{name} chats"]]


@pytest.mark.parametrize("name", MARKED)
def test_completions_have_the_peers_labels(name: str, peer: dict[str, Any]) -> None:
    """Without `assistant_only_loss` the peer also trains the blank that some templates put behind an answer's end."""
    tokenizer = MARKED[name].tokenizer()
    rows = ours(completions(), tokenizer)
    theirs, answers = peer[f"{name} completions"], peer[f"{name} completions, answers only"]
    assert [row.token_ids for row in rows] == [row["input_ids"] for row in theirs]
    for row, their, answer in zip(rows, theirs, answers, strict=True):
        assert all(not text.strip() for text in differing(row, their["labels"], tokenizer))
        assert all(not text.strip() for text in differing(row, answer["labels"], tokenizer))
    if name in ("nano", "llama3", "gemma", "gemma3", "qwen3"):  # the mark begins where the prompt ends
        assert [labels(row) for row in rows] == [row["labels"] for row in answers]


@pytest.mark.parametrize("name", UNMARKED)
def test_answers_found_turn_by_turn_are_those_of_the_peers_marked_template(name: str, peer: dict[str, Any]) -> None:
    """The peer exchanges the template for one with marks; some of these train the line break behind an answer's end."""
    tokenizer = UNMARKED[name].tokenizer()
    for row, theirs in zip(ours(chats(UNMARKED[name]), tokenizer), peer[f"{name} unmarked"], strict=True):
        assert row.token_ids == theirs["input_ids"]
        assert all(not text.strip() for text in differing(row, theirs["labels"], tokenizer))
        assert row.trained_tokens


def test_texts_have_the_peers_labels(peer: dict[str, Any]) -> None:
    rows = ours(TEXTS, MARKED["nano"].tokenizer())
    assert [row.token_ids for row in rows] == [row["input_ids"] for row in peer["texts"]]
    assert [labels(row) for row in rows] == [row["labels"] for row in peer["texts"]]
