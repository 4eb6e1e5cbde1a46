"""The trainer: the loss is the plain one, a stopped run ends with the same weights, bad input is refused."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tunebridge.data.example import Example, Message
from tunebridge.errors import DataError, SpecError
from tunebridge.testing.case import small_dataset
from tunebridge.training import schedule
from tunebridge.training.config import AdapterConfig, RunConfig
from tunebridge.training.sources import locate, packaged_nano

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::FutureWarning:transformers")]
CONFIG = RunConfig(
    job_id="tb-test",
    base_model="random",
    adapter=AdapterConfig(type="lora", rank=4, dropout=0.1),
    epochs=1,
    max_steps=12,
    batch_size=4,
    learning_rate=1e-2,
    schedule="linear",
    warmup_ratio=0.1,
    weight_decay=0.0,
    max_grad_norm=1.0,
    max_length=128,
    seed=3,
    too_long="error",
    evaluations=3,
    threads=1,
    checkpoint_seconds=0,
)


def make_run(folder: Path, **changes: Any) -> Path:
    """Write a run folder with a few rows."""
    folder.mkdir(parents=True)
    data = small_dataset(validation=True)
    data.train.write(folder / "train.jsonl")
    assert data.validation
    data.validation.write(folder / "validation.jsonl")
    CONFIG.model_copy(update=changes).write(folder)
    return folder


def train(folder: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the trainer to its end."""
    command = [sys.executable, "-m", "tunebridge.training", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200, **options)


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return the run's events and metrics."""
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def weights(folder: Path) -> bytes:
    """Return the adapter's file."""
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


def metrics(folder: Path) -> dict[tuple[str, int], float]:
    """Return the metrics by name and step; one that is there twice must have one value."""
    found: dict[tuple[str, int], float] = {}
    for line in lines(folder):
        if line["type"] == "metric":
            key = (line["name"], line["step"])
            assert found.setdefault(key, line["value"]) == line["value"], key
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    folder = make_run(tmp_path_factory.mktemp("undisturbed") / "run")
    done = train(folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_run_leaves_what_it_promises(undisturbed: Path) -> None:
    result = json.loads((undisturbed / "result.json").read_text())
    assert result["steps"] == 12
    assert result["trained_tokens"] > 0
    assert {"train_loss", "validation_loss", "learning_rate"} == {name for name, _ in metrics(undisturbed)}
    assert not [path for path in undisturbed.rglob("*") if path.suffix in (".bin", ".pt", ".pkl", ".pth")]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_run_ends_with_the_same_weights(how: int, undisturbed: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    command = [sys.executable, "-m", "tunebridge.training", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _wait_for_step(folder, 5)
        process.send_signal(how)
    assert not (folder / "result.json").exists()
    if how == signal.SIGTERM:
        assert lines(folder)[-1]["data"] == {"status": "cancelled"}
    else:
        with (folder / "events.jsonl").open("a") as file:
            file.write('{"type": "event", "id": "torn')
    assert train(folder).returncode == 0
    assert weights(folder) == weights(undisturbed)
    assert metrics(folder) == metrics(undisturbed)


def _wait_for_step(folder: Path, step: int) -> None:
    for _ in range(2000):
        if (folder / "checkpoints" / f"step-{step:08d}").exists():
            return
        time.sleep(0.01)
    raise AssertionError("the trainer does not come to its step")


def test_a_full_disk_fails_the_run_and_keeps_the_checkpoint(undisturbed: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", max_steps=2)
    assert train(folder).returncode == 0
    full = make_run(tmp_path / "full")

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = train(full, preexec_fn=small_files)
    assert done.returncode == 1
    assert lines(full)[-1]["data"]["status"] == "failed"
    assert train(full).returncode == 0
    assert weights(full) == weights(undisturbed)


def test_early_stopping_keeps_the_best_weights(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", learning_rate=0.5, early_stopping_patience=1, evaluations=6)
    assert train(folder).returncode == 0
    result = json.loads((folder / "result.json").read_text())
    losses = {step: value for (name, step), value in metrics(folder).items() if name == "validation_loss"}
    assert result["kept_step"] == min(losses, key=lambda step: losses[step])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"max_length": 8}, "longer than max_length 8"),
        ({"max_length": 8, "too_long": "truncate"}, "no trained token"),
        ({"max_length": 8, "too_long": "drop"}, "no row is left"),
        ({"max_length": 100_000}, "at most 1024"),
        ({"learning_rate": 1e30, "warmup_ratio": 0.0}, "the loss is"),
    ],
)
def test_bad_input_is_refused(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", **changes)
    assert train(folder).returncode == 2
    assert says in lines(folder)[-1]["message"]


def test_a_second_trainer_leaves_at_once(tmp_path: Path) -> None:
    import filelock

    folder = make_run(tmp_path / "run")
    with filelock.FileLock(folder / "trainer.lock"):
        done = train(folder)
    assert done.returncode == 1
    assert not (folder / "events.jsonl").exists()


def test_a_folder_without_safe_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no config.json"):
        locate(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(SpecError, match="pickled weights only"):
        locate(str(tmp_path))


def test_the_flat_loss_is_the_plain_loss() -> None:
    import torch

    from tunebridge.data.tokens import render
    from tunebridge.training import models
    from tunebridge.training.device import Resources
    from tunebridge.training.loop import summed_loss
    from tunebridge.training.packing import flat_batches

    tokenizer = models.load_tokenizer("tunebridge/nano")
    examples = [*small_dataset().train, _long(40), _long(150), _long(7)]
    rows = [render(example, tokenizer) for example in examples]
    resources = Resources("cpu", 1, "float32", "")
    plain = models.load_base("random", seed=1)
    flat = models.load_base("random", seed=1, flat=True)
    for row in rows:
        targets = [t if m else -100 for t, m in zip(row.token_ids, row.is_trained, strict=True)]
        logits = plain(input_ids=torch.tensor([row.token_ids])).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(targets[1:]), reduction="sum")
        loss.backward()  # type: ignore[no-untyped-call]
    for limit in (10_000, 200):
        flat.zero_grad()
        for batch in flat_batches(rows, max_tokens=limit, device=torch.device("cpu")):
            summed_loss(flat, batch, resources).backward()  # type: ignore[no-untyped-call]
        for (name, one), (_, other) in zip(plain.named_parameters(), flat.named_parameters(), strict=True):
            assert torch.allclose(one.grad, other.grad, rtol=1e-3, atol=1e-4), name


def _long(words: int) -> Example:
    text = " ".join(f"word{number}" for number in range(words))
    return Example(messages=(Message(role="user", content=text), Message(role="assistant", content=text)))


def test_only_answers_are_trained_with_marks_and_without() -> None:
    from tunebridge.data.tokens import render
    from tunebridge.training import models

    tokenizer = models.load_tokenizer("tunebridge/nano")
    turns = (("user", "one"), ("assistant", "two"), ("user", "three"), ("assistant", "four"))
    example = Example(messages=tuple(Message.model_validate({"role": r, "content": c}) for r, c in turns))
    marked = render(example, tokenizer)
    assert tokenizer.decode(_trained(marked)) == "two<|im_end|>four<|im_end|>"
    with_marks = tokenizer.chat_template
    tokenizer.chat_template = with_marks.replace("{%- generation %}", "").replace("{%- endgeneration %}", "")
    assert render(example, tokenizer) == marked
    unweighted = example.model_copy(
        update={"messages": (*(example.messages or ())[:3], Message(role="assistant", content="four", weight=0))}
    )
    for template in (with_marks, tokenizer.chat_template):
        tokenizer.chat_template = template
        assert tokenizer.decode(_trained(render(unweighted, tokenizer))) == "two<|im_end|>"
    half = Example(messages=(Message(role="user", content="a"), Message(role="assistant", content="b", weight=0.5)))
    with pytest.raises(DataError, match="weight 0.5"):
        render(half, tokenizer)
    with pytest.raises(DataError, match="cannot be used"):
        render(small_dataset(kind="preference").train.examples[0], tokenizer)


def _trained(row: Any) -> list[int]:
    return [token for token, mark in zip(row.token_ids, row.is_trained, strict=True) if mark]


def test_schedules() -> None:
    def rates(name: Any) -> list[float]:
        return [schedule.factor(s, total_steps=10, warmup_steps=2, schedule=name) for s in (0, 1, 2, 6, 9)]

    assert rates("constant") == [0, 0.5, 1, 1, 1]
    assert rates("linear") == [0, 0.5, 1, 0.5, 0.125]
    assert rates("cosine")[2:4] == [1, pytest.approx(0.5)]
    assert schedule.total_steps(10, batch_size=4, epochs=1.5, max_steps=None) == 4
    assert max(schedule.evaluation_steps(10, 3)) == 10


def test_generation_is_what_plain_greedy_decoding_gives(tmp_path: Path) -> None:
    import torch

    from tunebridge.training import models

    prompts = ["Repeat: red apple", "Say: one two three four five six seven", "Echo 4711"]
    requests = [{"id": n, "messages": [{"role": "user", "content": p}]} for n, p in enumerate(prompts)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in requests))
    command = [sys.executable, "-m", "tunebridge.training.generate", "--base-model", "tunebridge/nano"]
    command += ["--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out.jsonl"), "--max-tokens", "24"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    tokenizer, model = models.load_tokenizer("tunebridge/nano"), models.load_tuned("tunebridge/nano", None)
    for request, answer in zip(requests, answers, strict=True):
        ids = tokenizer.apply_chat_template(
            request["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            plain = model.generate(**ids, max_new_tokens=24, do_sample=False)[0, ids["input_ids"].shape[1] :]
        assert answer["output"] == tokenizer.decode(plain, skip_special_tokens=True)


def test_the_shipped_model_is_small_and_safe() -> None:
    files = list(packaged_nano().iterdir())
    assert sum(path.stat().st_size for path in files) < 12_000_000
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".jinja", ".md", ""}
