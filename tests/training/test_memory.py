"""Little memory: activations are computed again, passes get smaller when they did not fit, and a refusal says why."""

from pathlib import Path
from typing import Any

import pytest

from tests.training.runs import (
    CONFIG,
    FULL,
    LORA,
    last_message,
    lines,
    make_run,
    metrics,
    stop_after,
    train,
    weights,
)

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from tunebridge.data.rendering.render import RenderedRow  # noqa: E402
from tunebridge.training import memory, models  # noqa: E402
from tunebridge.training.device import Resources  # noqa: E402
from tunebridge.training.objective import Imitation  # noqa: E402
from tunebridge.training.rows import Unit  # noqa: E402

NO_DROPOUT = LORA.model_copy(update={"dropout": 0.0})


def test_activations_are_computed_again_where_only_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.load_base("random")
    monkeypatch.setattr(memory, "_free_bytes", lambda _: 10**12)
    assert not memory.fit(model, 1024, "cpu").checkpoint_activations
    kept = memory.activation_bytes_per_token(model.config, 1024) * 1024 + memory.optimizer_bytes(model)
    monkeypatch.setattr(memory, "_free_bytes", lambda _: kept)
    assert memory.fit(model, 1024, "cpu").checkpoint_activations


@pytest.mark.parametrize("adapter", [NO_DROPOUT, FULL], ids=["lora", "full"])
def test_computing_activations_again_changes_nothing(
    adapter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm, folder = make_run(tmp_path / "calm", adapter=adapter), make_run(tmp_path / "run", adapter=adapter)
    assert train(calm) == 0, last_message(calm)
    monkeypatch.setattr(memory, "fit", lambda *_: memory.Fit(4096, checkpoint_activations=True))
    assert train(folder) == 0, last_message(folder)
    assert any(line.get("id") == "activations" for line in lines(folder))
    assert weights(folder) == weights(calm)


def test_a_pass_that_runs_out_of_memory_is_done_again_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calm, folder = (make_run(tmp_path / name, adapter=NO_DROPOUT, dtype="float32") for name in ("calm", "run"))
    assert train(calm) == 0, last_message(calm)
    measure = Imitation.measure

    def small_machine(self: Imitation, model: Any, batch: Any, resources: Resources) -> Any:
        outcome = measure(self, model, batch, resources)
        if len(set(batch.owners.tolist())) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return outcome

    monkeypatch.setattr(Imitation, "measure", small_machine)
    (folder / "validation.jsonl").unlink()
    assert train(folder) == 0, last_message(folder)
    said = [line["message"] for line in lines(folder) if line["type"] == "event" and line["kind"] == "warning"]
    assert said
    assert all("memory ran out; going on with" in message for message in said)
    losses = [[found["train_loss", step] for step in range(1, 13)] for found in (metrics(calm), metrics(folder))]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_what_would_fit_is_said_when_nothing_can_be_made_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")

    monkeypatch.setattr(Imitation, "measure", no_memory)
    folder = make_run(tmp_path / "run", adapter=FULL)
    assert train(folder) == 2
    assert "hyperparameters.max_length to" in last_message(folder)
    assert "choose the adapter lora" in last_message(folder)


@pytest.mark.parametrize(
    ("tokens", "rows", "tokens_per_pass", "wanted"),
    [(100, 10_000, 4096, 32), (100, 10_000, 450, 4), (10, 10_000, 4096, 64), (100, 100, 4096, 4), (5000, 9, 4096, 1)],
)
def test_a_step_takes_what_a_pass_takes(tokens: int, rows: int, tokens_per_pass: int, wanted: int) -> None:
    unit = Unit((RenderedRow([1] * tokens, [True] * tokens),))
    assert memory.batch_of([unit] * rows, tokens_per_pass, least=1).rows == wanted
    assert memory.batch_of([unit] * 2, tokens_per_pass, least=2).rows == 2


def test_the_batch_size_is_found_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calm = make_run(tmp_path / "calm", batch_size=1, max_steps=6)
    folder = make_run(tmp_path / "run", batch_size="auto", max_steps=6)
    assert train(calm) == 0, last_message(calm)
    assert train(folder, stop_after(3)) == 0
    monkeypatch.setattr(memory, "STEPS_PER_EPOCH", 1)  # a resumed run keeps what was chosen
    assert train(folder) == 0, last_message(folder)
    assert weights(folder) == weights(calm)
    (said,) = [line for line in lines(folder) if line.get("id") == "batch-size"]
    assert said["message"].startswith("batch_size auto: 1 rows per step, because a pass of 4,096 tokens takes ")


def test_steps_from_large_to_small() -> None:
    first = Resources("cpu", 1, "float32", "", tokens_per_pass=4096)
    second = memory.smaller(first, 3000, CONFIG)
    assert (second.tokens_per_pass, second.checkpoint_activations) == (3000, False)
    third = memory.smaller(second, 3000, CONFIG)
    assert third.checkpoint_activations
    with pytest.raises(memory.OutOfMemory):
        memory.smaller(third, 3000, CONFIG)
