"""What a run takes of its machine: threads by what is free, passes by the memory, refusals before it starts."""

import os
from typing import Any

import pytest

from tests.training.runs import CONFIG
from tunebridge.errors import SpecError

pytestmark = pytest.mark.torch
pytest.importorskip("torch")

from tunebridge.training import device, memory, models  # noqa: E402


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setattr(device, "Path", lambda name: _NoFile())


class _NoFile:
    def read_text(self) -> str:
        raise FileNotFoundError


@pytest.mark.parametrize(("busy", "threads"), [((0, 5, 0, 3), 4), ((100, 5, 90, 3), 2), ((99, 98, 97, 96), 1)])
@pytest.mark.usefixtures("four_cores")
def test_threads_are_the_free_cores(busy: tuple[int, ...], threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    monkeypatch.setattr(psutil, "cpu_percent", lambda **_: list(busy))
    found = device.choose(CONFIG.model_copy(update={"threads": "auto"}))
    assert found.threads == threads
    assert f"{threads} of 4 cores" in found.reason


def test_a_number_format_that_is_not_native_is_only_taken_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_cpu_has_bfloat16", lambda: False)
    assert device.choose(CONFIG).dtype == "float32"
    asked = device.choose(CONFIG.model_copy(update={"dtype": "bfloat16"}))
    assert asked.dtype == "bfloat16"
    assert "emulated" in asked.reason
    monkeypatch.setattr(device, "_cpu_has_bfloat16", lambda: True)
    assert device.choose(CONFIG).dtype == "bfloat16"


def nano() -> Any:
    return models.load_base("random")


def test_much_memory_gives_the_preferred_pass_and_little_a_smaller_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nano()
    assert memory.fit(model, 100, "cpu") == memory.Fit(4096)
    monkeypatch.setattr(memory, "_free_bytes", lambda _: 100 * 2**20)
    assert 100 < memory.fit(model, 100, "cpu").tokens_per_pass < 4096


def test_a_row_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_free_bytes", lambda _: 15 * 2**20)
    with pytest.raises(SpecError, match=r"A row of 1024 tokens needs about .* Set hyperparameters.max_length to \d+"):
        memory.fit(nano(), 1024, "cpu")


def test_an_optimizer_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_free_bytes", lambda _: 2**20)
    with pytest.raises(SpecError, match="gradients and optimizer.* Choose the optimizer adamw_8bit, the lora adapter"):
        memory.fit(nano(), 10, "cpu")


@pytest.mark.parametrize("length", [60, 300, 500])
def test_the_estimate_is_above_what_training_keeps(length: int) -> None:
    import torch

    from tunebridge.data.rendering.render import RenderedRow
    from tunebridge.training import attention
    from tunebridge.training.device import Resources
    from tunebridge.training.head import token_losses
    from tunebridge.training.packing import flatten
    from tunebridge.training.rows import Unit

    model = nano()
    attention.use(model)
    rows = [
        RenderedRow([(number + row) % 2048 for number in range(length)], [True] * length)
        for row in range(1200 // length)
    ]
    batch = flatten([Unit((row,)) for row in rows], torch.device("cpu"))
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}
    alive = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        token_losses(model, batch, Resources("cpu", 1, "float32", ""))
    used = sum(size for place, size in kept.items() if place not in weights)
    estimate = memory.activation_bytes_per_token(model.config, length) * batch.tokens
    assert used <= estimate <= 2 * used
