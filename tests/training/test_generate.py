"""Answers are those of plain greedy decoding, in the order of the requests, and end where they should."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.runs import make_run, train
from tunebridge.training import generate

pytestmark = pytest.mark.torch
PROMPTS = ["Repeat: red apple", "Say: one two three four five six seven", "Echo 4711", "Repeat: red apple"]


def write_requests(path: Path, prompts: list[str]) -> Path:
    rows = [{"id": f"r{n}", "messages": [{"role": "user", "content": p}]} for n, p in enumerate(prompts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def ask(folder: Path, monkeypatch: pytest.MonkeyPatch, *extra: str, prompts: list[str] | None = None) -> list[Any]:
    """Answer prompts with the shipped model, in this process."""
    requests = write_requests(folder / "in.jsonl", PROMPTS if prompts is None else prompts)
    arguments = ["generate", "--base-model", "tunebridge/nano", "--input", str(requests)]
    monkeypatch.setattr(sys, "argv", [*arguments, "--output", str(folder / "out.jsonl"), "--max-tokens", "24", *extra])
    assert generate.main() == 0
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def plain_answers(adapter: Path | None = None) -> list[str]:
    import torch

    from tunebridge.training import models

    tokenizer, model = models.load_tokenizer("tunebridge/nano"), models.load_tuned("tunebridge/nano", adapter)
    answers = []
    for prompt in PROMPTS:
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            plain = model.generate(**ids, max_new_tokens=24, do_sample=False)[0, ids["input_ids"].shape[1] :]
        answers.append(tokenizer.decode(plain, skip_special_tokens=True))
    return answers


def test_batches_answer_like_plain_greedy_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = ask(tmp_path, monkeypatch)
    assert [answer["output"] for answer in answers] == plain_answers()
    assert [answer["id"] for answer in answers] == ["r0", "r1", "r2", "r3"]
    assert all(answer["finish_reason"] in ("stop", "length") and answer["tokens"] <= 24 for answer in answers)
    said = [json.loads(line.removeprefix("TUNEBRIDGE ")) for line in capsys.readouterr().out.splitlines()]
    assert said == [{"type": "progress", "done": 4, "total": 4}]
    assert not list(tmp_path.glob("*.partial"))


def test_an_adapter_answers_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(tmp_path / "run", base_model="tunebridge/nano")
    assert train(folder) == 0
    answers = ask(tmp_path, monkeypatch, "--adapter", str(folder / "adapter"))
    assert [answer["output"] for answer in answers] == plain_answers(folder / "adapter")
    assert [answer["output"] for answer in answers] != plain_answers()


def test_an_answer_that_is_cut_off_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ask(tmp_path, monkeypatch, "--max-tokens", "1")
    assert {(answer["finish_reason"], answer["tokens"]) for answer in answers} == {("length", 1)}


def test_sampling_is_a_function_of_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, again, other = (
        ask(tmp_path, monkeypatch, "--temperature", "2", "--seed", seed, "--max-tokens", "8") for seed in "112"
    )
    assert first == again
    assert first != other


def test_no_requests_give_no_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(tmp_path, monkeypatch, prompts=[]) == []


def test_standard_input_and_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = write_requests(tmp_path / "in.jsonl", PROMPTS[:2]).read_text()
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    arguments = ["--base-model", "tunebridge/nano", "--input", "-", "--output", "-", "--max-tokens", "2"]
    monkeypatch.setattr(sys, "argv", ["generate", *arguments])
    assert generate.main() == 0
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == ["r0", "r1"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "in.jsonl:1: this line is no JSON"),
        ('{"id": 1}', "request 1 has no valid `messages`"),
        ('{"messages": [{"role": "wizard"}]}', "request 1 has no valid `messages`"),
        (json.dumps({"messages": [{"role": "user", "content": "red " * 2000}]}), "the model takes at most 1024"),
    ],
)
def test_bad_requests_are_refused(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.jsonl").write_text(text)
    arguments = ["--base-model", "random", "--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["generate", *arguments])
    assert generate.main() == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_batches_keep_similar_lengths_together_within_the_limits() -> None:
    lengths = [5, 9000, 7, 8000, 6, *[3] * 300]
    found = list(generate.batches(lengths))
    assert sorted(number for batch in found for number in batch) == list(range(len(lengths)))
    assert found[0] == [1]
    for batch in found:
        assert len(batch) <= generate.BATCH_ROWS
        assert len(batch) == 1 or len(batch) * max(lengths[n] for n in batch) <= generate.BATCH_TOKENS
