"""What a run writes, and what it says of a job, a row or a machine that it cannot work with."""

import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.runs import FULL, LORA, command, last_message, lines, make_run, metrics, result, train, weights
from tunebridge import digests
from tunebridge.data.dataset import Split
from tunebridge.data.example import Example, Message
from tunebridge.job import Event, JobStatus, Metric
from tunebridge.testing.case import small_dataset
from tunebridge.training.run import reason
from tunebridge.training.sources import packaged_nano

pytestmark = pytest.mark.torch


def conversation(question: str, answer: str) -> Example:
    return Example(messages=(Message(role="user", content=question), Message(role="assistant", content=answer)))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished run on the shipped model, in a process of its own, and what it printed."""
    folder = make_run(
        tmp_path_factory.mktemp("finished") / "run", base_model="tunebridge/nano", epochs=2.5, max_steps=None
    )
    done = subprocess.run(command(folder), capture_output=True, text=True, check=True, timeout=200)
    assert done.stderr == ""
    return folder, done.stdout


def test_events_are_the_ones_of_the_contract_and_repeated_on_stdout(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    found = lines(folder)
    assert [json.loads(line.removeprefix("TUNEBRIDGE ")) for line in printed.splitlines()] == found
    events = [Event.model_validate({k: v for k, v in x.items() if k != "type"}) for x in found if x["type"] == "event"]
    measured = [
        Metric.model_validate({k: v for k, v in x.items() if k != "type"}) for x in found if x["type"] == "metric"
    ]
    assert len(events) + len(measured) == len(found)
    assert len({event.id for event in events}) == len(events)
    words = [JobStatus(event.data["status"]) for event in events if event.kind == "status"]
    assert words == ["preparing", "running", "finalizing", "succeeded"]
    assert {metric.name for metric in measured} == {"train_loss", "learning_rate", "validation_loss"}
    progress = next(event for event in events if event.kind == "progress")
    assert set(progress.data) == {"step", "total_steps", "epoch", "loss", "tokens_per_second", "seconds_left"}


def test_the_result_says_what_was_done(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    found = result(folder)
    assert (found["steps"], found["total_steps"], found["epochs"]) == (8, 8, 2.6667)
    assert found["rows"] == {
        "train": {"used": 12, "dropped": 0, "truncated": 0},
        "validation": {"used": 2, "dropped": 0, "truncated": 0},
    }
    assert found["artifact_digest"] == digests.of_folder(folder / "adapter")
    assert found["base_model"]["digest"] == digests.of_file(packaged_nano() / "model.safetensors")
    assert found["chat_template_digest"].startswith("sha256:")
    assert found["metrics"]["validation_loss"] == metrics(folder)["validation_loss", 8]
    assert 0 < found["trained_tokens"] < found["total_tokens"]
    assert found["wall_seconds"] > 0
    assert found["compute_seconds"] > 0
    assert set(found["versions"]) == {"tunebridge", "torch", "transformers", "peft"}
    assert found["resources"]["threads"] == 1
    adapter = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "tunebridge/nano"


def test_training_lowers_the_loss(finished: tuple[Path, str]) -> None:
    losses = [value for (name, _), value in sorted(metrics(finished[0]).items()) if name == "train_loss"]
    assert losses[-1] < losses[0] / 2


def test_a_fully_tuned_model_can_be_tuned_again(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", adapter=FULL, max_steps=2)
    assert train(folder) == 0, last_message(folder)
    assert result(folder)["artifact_kind"] == "model"
    again = make_run(tmp_path / "again", base_model=str(folder / "model"), adapter=FULL, max_steps=2)
    assert train(again) == 0, last_message(again)
    assert result(again)["base_model"]["digest"] == digests.of_file(folder / "model" / "model.safetensors")
    assert weights(again) != weights(folder)


def test_text_rows_are_trained_whole(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", max_steps=2)
    small_dataset(kind="text").train.write(folder / "train.jsonl")
    (folder / "validation.jsonl").unlink()
    assert train(folder) == 0, last_message(folder)
    found = result(folder)
    assert found["trained_tokens"] == found["total_tokens"] - 2 * 4  # a row's first token is predicted by nothing
    assert found["kept_validation_loss"] is None


@pytest.mark.parametrize(("policy", "used"), [("drop", 12), ("truncate", 13)])
def test_long_rows_are_counted(policy: str, used: int, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", too_long=policy, max_length=40, max_steps=1)
    rows = (*small_dataset().train, conversation("Say it.", "red " * 100))
    Split(rows).write(folder / "train.jsonl")
    assert train(folder) == 0, last_message(folder)
    word = {"drop": "dropped", "truncate": "truncated"}[policy]
    assert result(folder)["rows"]["train"] == {"used": used, "dropped": 0, "truncated": 0} | {word: 1}
    warnings = [line for line in lines(folder) if line.get("kind") == "warning"]
    assert [line["message"] for line in warnings] == [f"1 of 13 rows are longer than max_length 40 and were {word}"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"max_length": 8}, "train.jsonl:1: 12 rows are longer than max_length 8 (rows 1, 2, 3, 4, 5, ...)"),
        ({"max_length": 8, "too_long": "truncate"}, "train.jsonl:1: 12 rows have no trained token"),
        ({"max_length": 8, "too_long": "drop"}, "train.jsonl: no row is left"),
        ({"max_length": 100_000}, "at most 1024"),
        ({"learning_rate": 1e30, "warmup_ratio": 0.0}, "made from rows ["),
        ({"base_model": "/no/such/model"}, "There is no model folder"),
        ({"base_model": "no-such/model"}, "cannot be loaded"),
        ({"adapter": LORA.model_copy(update={"target_modules": ("nonsense",)})}, "target_modules"),
        ({"device": "cuda"}, "PyTorch sees no GPU"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", **changes)
    assert train(folder) == 2
    assert says in last_message(folder)
    assert lines(folder)[-1]["data"] == {"status": "failed"}


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (b'{"messages": [{"role": "wizard"}]}', "train.jsonl:13: this row of the run folder is broken"),
        (b"not json", "train.jsonl:13: this row of the run folder is broken"),
        (b'{"messages": [{"role": "user", "content": "?"}]}', "train.jsonl:13: 1 rows have no trained token"),
        (b'{"messages": [], "preferred": [], "rejected": []}', "train.jsonl:13: a preference row cannot be used"),
    ],
)
def test_bad_rows_are_named(bad: bytes, says: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    with (folder / "train.jsonl").open("ab") as file:
        file.write(bad + b"\n")
    assert train(folder) == 2
    assert says in last_message(folder)


@pytest.mark.parametrize("text", ["", "{", '{"job_id": "x"}'])
def test_a_broken_run_file_is_said(text: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "run.json").write_text(text)
    assert train(folder) == 2
    assert "run.json cannot be read" in last_message(folder)


def test_missing_rows_are_said(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "train.jsonl").unlink()
    assert train(folder) == 2
    assert "no training rows" in last_message(folder)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "pytorch_model.bin").write_bytes(b"pickle")
    folder = make_run(tmp_path / "run", base_model=str(model))
    assert train(folder) == 2
    assert "pickled weights only (pytorch_model.bin)" in last_message(folder)


def test_time_that_is_up_ends_the_run_with_a_result(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", max_hours=1e-9)
    assert train(folder) == 0
    assert result(folder)["steps"] == 1
    assert "max_hours" in result(folder)["stopped_early"]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "memory ran out"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"), "memory ran out"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20 MiB"), "memory ran out"),
        (OSError(28, "No space left on device"), "the disk is full"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "the disk is full"),
        (ValueError("one\ntwo"), "ValueError: one"),
    ],
)
def test_reasons_are_for_people(error: Exception, says: str) -> None:
    assert reason(error).startswith(says)


def test_nobody_on_stdout_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    folder = make_run(tmp_path / "run", max_steps=1)
    monkeypatch.setattr(sys, "stdout", Gone())
    assert train(folder) == 0


def test_usage() -> None:
    done = subprocess.run([*command(Path("/no/such/folder"))], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage:")


def test_a_stop_is_heard() -> None:
    from tunebridge.training.process import hear_stop

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        was_told = hear_stop()
        assert not was_told()
        signal.raise_signal(signal.SIGINT)
        assert was_told()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
