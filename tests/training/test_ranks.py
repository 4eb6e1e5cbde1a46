"""Several processes together take the steps of a single one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.runs import FULL, LORA, last_message, lines, make_run, metrics, result, stop_after, train, weights
from tunebridge import digests

pytestmark = [pytest.mark.torch, pytest.mark.slow]
NO_DROPOUT = LORA.model_copy(update={"dropout": 0.0})


def together(folder: Path, *options: str) -> list[str]:
    """Return the command that trains with torchrun in two processes on this machine (gloo)."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *options]
    return [*command, "-m", "tunebridge.training", str(folder)]


def train_together(folder: Path) -> None:
    command = together(folder)
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


def tensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    (found,) = [*folder.glob("adapter/*.safetensors"), *folder.glob("model/*.safetensors")]
    return load_file(found)


def assert_same_weights(one: Path, other: Path) -> None:
    import torch

    left, right = tensors(one), tensors(other)
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(right[name], value, atol=2e-3, rtol=2e-3, msg=name)


SHARDED = {"sharding": "fsdp", "dtype": "float32"}


@pytest.mark.parametrize(
    "changes",
    [
        {"adapter": NO_DROPOUT, "batch_size": 5},
        {"adapter": NO_DROPOUT.model_copy(update={"type": "dora"}), "max_steps": 6},
        {"adapter": FULL, "learning_rate": 1e-3, "batch_size": 3, "keep": "best"},
        {"method": "dpo", "adapter": NO_DROPOUT, "max_steps": 6},
        {"method": "dpo", "adapter": FULL, "learning_rate": 1e-3, "max_steps": 6},
    ],
    ids=["lora", "dora", "full", "dpo", "dpo-full"],
)
def test_a_model_in_parts_gives_the_losses_and_weights_of_one_process(changes: dict[str, Any], tmp_path: Path) -> None:
    """FSDP2; 12 rows in steps of 5 and 3 also leave a process with fewer passes than the other, or with none."""
    alone = make_run(tmp_path / "alone", **changes, dtype="float32")
    together = make_run(tmp_path / "together", **changes, **SHARDED)
    assert train(alone) == 0, last_message(alone)
    train_together(together)
    assert metrics(together).keys() == metrics(alone).keys()
    assert losses(together) == pytest.approx(losses(alone), rel=1e-3, abs=1e-3)
    assert_same_weights(alone, together)
    assert result(together)["artifact_digest"] == digests.of_folder(next(together.glob("[am]*[rl]/")))


def test_a_run_goes_on_in_parts_and_whole_again(tmp_path: Path) -> None:
    """A checkpoint is the same whoever wrote it: one process, then two with parts, then one to the end."""
    changes = {"adapter": FULL, "learning_rate": 1e-3, "keep": "best"}
    alone = make_run(tmp_path / "alone", **changes, dtype="float32")
    moved = make_run(tmp_path / "moved", **changes, **SHARDED)
    assert train(alone) == 0
    assert train(moved, stop_after(4)) == 0
    stop_together(moved, step=8)
    assert train(moved) == 0
    assert sum("going on after step" in line.get("message", "") for line in lines(moved)) == 2
    assert losses(moved) == pytest.approx(losses(alone), rel=1e-3, abs=1e-3)
    assert_same_weights(alone, moved)


def stop_together(folder: Path, *, step: int) -> None:
    """Train with two processes and ask them to stop when a step's checkpoint is there."""
    with subprocess.Popen(together(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout
        for line in process.stdout:
            if f'"checkpoint-{step}"'.encode() in line:
                (folder / "cancel.request").touch()
    assert process.returncode == 0
    (folder / "cancel.request").unlink()


def test_one_process_says_that_there_is_nothing_to_share_out(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", **SHARDED, max_steps=2)
    assert train(folder) == 0
    (said,) = [line["message"] for line in lines(folder) if line.get("id") == "unsharded-1"]
    assert said == "sharding fsdp is left out: a single process trains, so there is nothing to share out"


@pytest.mark.parametrize("is_first", [False, True], ids=["beside", "first"])
def test_torchrun_starts_again_what_lost_a_process(is_first: bool, tmp_path: Path) -> None:
    """The run loses one of its processes to SIGKILL, goes on from its checkpoint, and ends with the same weights."""
    changes = {"adapter": NO_DROPOUT, "dtype": "float32"}
    whole, torn = make_run(tmp_path / "whole", **changes), make_run(tmp_path / "torn", **changes)
    train_together(whole)
    command = together(torn, "--max-restarts", "1", "--monitor-interval", "0.1")
    # Without it PyTorch 2.13 keeps the store of the first attempt, with the addresses of processes that are gone.
    environment = {**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    said = b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment) as process:
        assert process.stdout
        for line in process.stdout:
            said += line
            if b'"checkpoint-5"' in line:
                kill(process.pid, torn, is_first=is_first)
    assert process.returncode == 0, said[-5000:].decode()
    assert [line["id"] for line in lines(torn) if "started-" in line.get("id", "")] == ["started-1", "started-2"]
    assert not any(line.get("data", {}).get("status") == "failed" for line in lines(torn))
    assert metrics(torn) == metrics(whole)
    assert weights(torn) == weights(whole)


def kill(launcher: int, folder: Path, *, is_first: bool) -> None:
    """End the process that holds the run folder, or the other one, with SIGKILL."""
    import psutil

    holder = json.loads((folder / "process.json").read_text())["pid"]
    trainers = [p.pid for p in psutil.Process(launcher).children() if "tunebridge.training" in p.cmdline()]
    (victim,) = [pid for pid in trainers if (pid == holder) == is_first]
    os.kill(victim, signal.SIGKILL)
