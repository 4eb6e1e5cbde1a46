"""A run that was stopped in any way ends with the same weights and metrics as one that nobody disturbed."""

import json
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.training.runs import (
    FULL,
    LORA,
    command,
    last_message,
    lines,
    make_run,
    metrics,
    result,
    stop_after,
    train,
    train_apart,
    weights,
)

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module", params=[LORA, FULL], ids=["lora", "full"])
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    folder = make_run(tmp_path_factory.mktemp("undisturbed") / "run", adapter=request.param)
    assert train(folder) == 0, last_message(folder)
    return folder


def same_run(undisturbed: Path, folder: Path, **changes: Any) -> Path:
    """Make another run of the same configuration."""
    settings = json.loads((undisturbed / "run.json").read_text())
    return make_run(folder, adapter=FULL if settings["adapter"]["type"] == "full" else LORA, **changes)


def assert_same(folder: Path, undisturbed: Path) -> None:
    assert weights(folder) == weights(undisturbed)
    assert metrics(folder) == metrics(undisturbed)
    told = ("steps", "trained_tokens", "total_tokens", "kept_step", "metrics", "kept_validation_loss")
    assert {k: result(folder)[k] for k in told} == {k: result(undisturbed)[k] for k in told}


def test_stopping_at_every_third_step(undisturbed: Path, tmp_path: Path) -> None:
    folder = same_run(undisturbed, tmp_path / "run", checkpoint_seconds=1e6)
    while not (folder / "result.json").exists():
        assert train(folder, stop_after(3)) == 0, last_message(folder)
    stops = [line["data"]["status"] for line in lines(folder) if line.get("kind") == "status"]
    assert stops.count("cancelled") == 3
    assert_same(folder, undisturbed)


def test_losing_every_checkpoint_but_an_old_one(undisturbed: Path, tmp_path: Path) -> None:
    folder = same_run(undisturbed, tmp_path / "run", keep_checkpoints=9)
    train(folder, stop_after(7))
    for path in sorted((folder / "checkpoints").iterdir())[5:]:
        shutil.rmtree(path)
    assert train(folder) == 0
    assert_same(folder, undisturbed)


def test_a_trainer_that_died_between_the_weights_and_the_result(undisturbed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    (folder / "result.json").unlink()
    left = next(path for path in (folder / "adapter", folder / "model") if path.exists())
    shutil.copytree(left, left.with_name(left.name + ".partial"))
    (left / "torn").write_text("left behind")
    assert train(folder) == 0
    assert not (left / "torn").exists()
    assert_same(folder, undisturbed)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_process(how: int, tmp_path: Path) -> None:
    calm = make_run(tmp_path / "calm")
    assert train(calm) == 0
    folder = make_run(tmp_path / "run")
    with subprocess.Popen(command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _wait_for_step(folder, 5)
        process.send_signal(how)
    assert not (folder / "result.json").exists()
    if how == signal.SIGTERM:
        assert process.returncode == 0
        assert lines(folder)[-1]["data"] == {"status": "cancelled"}
    else:
        with (folder / "events.jsonl").open("a") as file:
            file.write('{"type": "event", "id": "torn')
    assert train(folder) == 0
    assert_same(folder, calm)


def _wait_for_step(folder: Path, step: int) -> None:
    for _ in range(3000):
        if (folder / "checkpoints" / f"step-{step:08d}").exists():
            return
        time.sleep(0.01)
    raise AssertionError("the trainer does not come to its step")


def test_a_stop_while_the_model_is_loaded(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    with subprocess.Popen(command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not (folder / "events.jsonl").exists():
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    assert lines(folder)[-1]["data"] == {"status": "cancelled"}


def test_a_cancel_request_ends_the_run(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "cancel.request").write_text("")
    assert train(folder) == 0
    assert lines(folder)[-1]["data"] == {"status": "cancelled"}
    (folder / "cancel.request").unlink()
    assert train(folder) == 0
    assert result(folder)["steps"] == 12


def test_a_finished_run_is_left_alone(undisturbed: Path) -> None:
    before = (undisturbed / "events.jsonl").read_bytes()
    assert train(undisturbed) == 0
    assert (undisturbed / "events.jsonl").read_bytes() == before


def test_a_full_disk_fails_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    calm, folder = make_run(tmp_path / "calm"), make_run(tmp_path / "run")
    assert train(calm) == 0
    train(folder, stop_after(4))
    kept = {path.name: path.read_bytes() for path in (folder / "checkpoints" / "step-00000004").iterdir()}

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = train_apart(folder, preexec_fn=small_files)
    assert done.returncode == 1
    assert lines(folder)[-1]["data"] == {"status": "failed"}
    assert "the disk is full" in last_message(folder)
    assert not (folder / "checkpoints" / ".partial").exists()
    newest = folder / "checkpoints" / "step-00000004"
    assert {path.name: path.read_bytes() for path in newest.iterdir()} == kept
    assert train(folder) == 0
    assert_same(folder, calm)


def test_early_stopping_goes_on_after_a_stop(tmp_path: Path) -> None:
    changes = {"learning_rate": 8.0, "early_stopping_patience": 2, "evaluations": 12, "keep": "best"}
    calm, folder = make_run(tmp_path / "calm", **changes), make_run(tmp_path / "run", **changes)
    assert train(calm) == 0
    while not (folder / "result.json").exists():
        assert train(folder, stop_after(2)) == 0
    assert_same(folder, calm)
    found = result(calm)
    losses = {step: value for (name, step), value in metrics(calm).items() if name == "validation_loss"}
    assert found["kept_step"] == min(losses, key=lambda step: losses[step])
    assert found["kept_validation_loss"] == min(losses.values())
    assert found["steps"] == found["kept_step"] + 2
    assert f"since step {found['kept_step']}" in found["stopped_early"]


def test_another_trainer_holds_the_folder(tmp_path: Path) -> None:
    import filelock

    folder = make_run(tmp_path / "run")
    before = sorted(path.name for path in folder.iterdir())
    with filelock.FileLock(folder / "trainer.lock"):
        done = train_apart(folder)
    assert done.returncode == 1
    assert "another trainer works on" in done.stderr
    assert sorted(path.name for path in folder.iterdir() if path.name != "trainer.lock") == before


def test_a_checkpoint_is_never_pickled(undisturbed: Path) -> None:
    kept = list((undisturbed / "checkpoints").rglob("*.*"))
    assert {path.suffix for path in kept} == {".safetensors", ".json"}
    unsafe = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
    assert not [path for path in undisturbed.rglob("*") if path.suffix in unsafe]
    assert len({path.parent.name for path in kept}) == 2


@pytest.mark.parametrize("lost", ["state.json", "weights.safetensors", "optimizer.safetensors"])
def test_a_checkpoint_that_came_back_in_part_is_passed_over(lost: str, tmp_path: Path) -> None:
    undisturbed, folder = make_run(tmp_path / "a"), make_run(tmp_path / "b", keep_checkpoints=3)
    train(undisturbed)
    train(folder, stop_after(5))
    newest = sorted((folder / "checkpoints").glob("step-*"))[-1]
    (newest / lost).unlink()
    train(folder)
    assert weights(folder) == weights(undisturbed)
