"""Several processes together take the steps of a single one."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.runs import FULL, LORA, last_message, make_run, metrics, result, stop_after, train

pytestmark = [pytest.mark.torch, pytest.mark.slow]
NO_DROPOUT = LORA.model_copy(update={"dropout": 0.0})


def train_together(folder: Path, processes: int = 2) -> None:
    """Train with torchrun on this machine (gloo)."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command += ["-m", "tunebridge.training", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280, env=dict(os.environ))
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]


def losses(folder: Path) -> list[float]:
    return [value for _, value in sorted(metrics(folder).items())]


@pytest.mark.parametrize(
    "changes",
    [
        {"adapter": NO_DROPOUT, "batch_size": 5},
        {"method": "dpo", "adapter": FULL, "learning_rate": 1e-3},
        {"method": "kto", "adapter": NO_DROPOUT},
    ],
    ids=["lora", "dpo-full", "kto"],
)
def test_two_processes_give_the_losses_of_one(changes: dict[str, Any], tmp_path: Path) -> None:
    changes = {**changes, "dtype": "float32"}
    alone, together = make_run(tmp_path / "alone", **changes), make_run(tmp_path / "together", **changes)
    assert train(alone) == 0, last_message(alone)
    train_together(together)
    assert metrics(together).keys() == metrics(alone).keys()
    assert losses(together) == pytest.approx(losses(alone), rel=1e-3, abs=1e-3)
    for key in ("steps", "trained_tokens", "total_tokens", "kept_step"):
        assert result(together)[key] == result(alone)[key]


def test_a_run_goes_on_with_more_processes(tmp_path: Path) -> None:
    changes = {"adapter": NO_DROPOUT, "dtype": "float32", "keep": "best"}
    alone, together = make_run(tmp_path / "alone", **changes), make_run(tmp_path / "together", **changes)
    assert train(alone) == 0
    assert train(together, stop_after(5)) == 0
    train_together(together)
    assert losses(together) == pytest.approx(losses(alone), rel=1e-3, abs=1e-3)
