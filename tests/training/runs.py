"""Run folders for tests: made with a few rows, trained in this process or in one of its own."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunebridge.testing.case import small_dataset
from tunebridge.training.config import AdapterConfig, RunConfig
from tunebridge.training.run import run

LORA = AdapterConfig(type="lora", rank=4, dropout=0.1)
FULL = AdapterConfig(type="full")
CONFIG = RunConfig(
    job_id="tb-test",
    base_model="random",
    adapter=LORA,
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
    """Write a run folder with a few rows, such as its method needs."""
    folder.mkdir(parents=True)
    kind = {"dpo": "preference", "kto": "kto"}.get(changes.get("method", ""), "sft")
    data = small_dataset(kind=kind, validation=True)
    data.train.write(folder / "train.jsonl")
    assert data.validation
    data.validation.write(folder / "validation.jsonl")
    CONFIG.model_copy(update=changes).write(folder)
    return folder


def command(folder: Path) -> list[str]:
    """Return the command that trains in a folder."""
    return [sys.executable, "-m", "tunebridge.training", str(folder)]


def train_apart(folder: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Train to the end in a process of its own."""
    return subprocess.run(command(folder), capture_output=True, text=True, check=False, timeout=200, **options)


def train(folder: Path, should_stop: Callable[[], bool] = lambda: False) -> int:
    """Train in this process and return the exit code."""
    return run(folder, should_stop)


def stop_after(steps: int) -> Callable[[], bool]:
    """Return what tells the trainer to stop when it has done so many steps."""
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > steps + 1  # it is asked once before it loads the model

    return should_stop


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return the run's events and metrics."""
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def last_message(folder: Path) -> str:
    """Return what the trainer said last."""
    return str(lines(folder)[-1]["message"])


def result(folder: Path) -> dict[str, Any]:
    """Return `result.json`."""
    record: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return record


def weights(folder: Path) -> bytes:
    """Return the bytes of the adapter or the model."""
    found = [folder / "adapter" / "adapter_model.safetensors", folder / "model" / "model.safetensors"]
    return next(path for path in found if path.exists()).read_bytes()


def metrics(folder: Path) -> dict[tuple[str, int], float]:
    """Return the metrics by name and step; one that is there twice must have one value."""
    found: dict[tuple[str, int], float] = {}
    for line in lines(folder):
        if line["type"] == "metric":
            key = (line["name"], line["step"])
            assert found.setdefault(key, line["value"]) == line["value"], key
    return found
