"""Supervised fine-tuning: step by step the losses of TRL's SFTTrainer, and at the end its weights.

The peer pads its batches and ours lie flat, so that this also compares packed rows with unpacked ones.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.runs import FULL, LORA, last_message, make_run, metrics, train

pytestmark = [pytest.mark.torch, pytest.mark.slow]
pytest.importorskip("trl", reason="TRL is the peer; `make test-parity` installs it")

ROOT = Path(__file__).parent.parent.parent
JOB = {"learning_rate": 2e-3, "max_steps": 12, "dtype": "float32", "evaluations": 1}
NO_DROPOUT = LORA.model_copy(update={"dropout": 0.0})


def train_peer(folder: Path, out: Path) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Train the run folder's job with TRL and return what it logged for each step, and its weights."""
    command = [sys.executable, "-m", "tests.parity.peer", str(folder), str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((out / "losses.json").read_text()), tensors(out / "artifact")


def tensors(folder: Path) -> dict[str, Any]:
    """Return the weights of an adapter or a model."""
    from safetensors.torch import load_file

    return load_file(next(iter(folder.glob("*.safetensors"))))


def assert_parity(folder: Path, out: Path, names: dict[str, str]) -> None:
    """Compare logged values (ours -> theirs) at each step, and the trained weights."""
    rows, theirs = train_peer(folder, out)
    assert train(folder) == 0, last_message(folder)
    found = metrics(folder)
    for name, peer_name in names.items():
        steps = [step for step in range(1, len(rows) + 1) if not is_chance(name, found.get(("reward_margin", step)))]
        expected = {step: rows[step - 1][peer_name] for step in steps if peer_name in rows[step - 1]}
        ours = {step: found[name, step] for step in steps if (name, step) in found}
        assert expected, peer_name
        assert ours == pytest.approx(expected, rel=2e-4, abs=2e-4), name
    weights = tensors(next(path for path in (folder / "adapter", folder / "model") if path.exists()))
    assert weights.keys() == theirs.keys()
    for name, weight in weights.items():
        assert (weight - theirs[name]).norm() <= 2e-3 * theirs[name].norm() + 1e-6, name


def is_chance(name: str, margin: float | None) -> bool:
    """Whether a value is decided by rounding: which reward is larger before the weights have moved."""
    return name == "reward_accuracy" and margin is not None and abs(margin) < 1e-4


@pytest.mark.parametrize(
    "changes",
    [
        {"adapter": NO_DROPOUT},
        {"adapter": NO_DROPOUT, "schedule": "cosine", "weight_decay": 0.1, "max_grad_norm": 0.05},
        {"adapter": FULL, "learning_rate": 5e-4},
        {"adapter": NO_DROPOUT, "base_model": "tunebridge/nano", "batch_size": 5, "max_steps": 3},
    ],
    ids=["lora", "cosine", "full", "uneven-batches"],
)
def test_losses_and_weights_are_those_of_trl(changes: dict[str, Any], tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", **{**JOB, **changes})
    assert_parity(folder, tmp_path / "peer", {"train_loss": "loss", "learning_rate": "learning_rate"})
