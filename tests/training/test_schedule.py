"""Learning rates, steps and evaluations."""

from typing import Any

import pytest

from tunebridge.training import schedule


def rates(name: Any) -> list[float]:
    return [schedule.factor(step, total_steps=10, warmup_steps=2, schedule=name) for step in (0, 1, 2, 6, 9)]


def test_shapes() -> None:
    assert rates("constant") == [0, 0.5, 1, 1, 1]
    assert rates("linear") == [0, 0.5, 1, 0.5, 0.125]
    assert rates("cosine")[:4] == [0, 0.5, 1, pytest.approx(0.5)]


@pytest.mark.torch
@pytest.mark.parametrize("name", ["linear", "cosine", "constant_with_warmup"])
def test_rates_are_those_of_transformers(name: str) -> None:
    torch = pytest.importorskip("torch")
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = get_scheduler(name, optimizer, num_warmup_steps=3, num_training_steps=20)
    ours: Any = name.removesuffix("_with_warmup")
    for step in range(20):
        factor = schedule.factor(step, total_steps=20, warmup_steps=3, schedule=ours)
        assert factor == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize(
    ("rows", "epochs", "max_steps", "steps"),
    [(10, 1, None, 3), (10, 1.5, None, 4), (10, 0.01, None, 1), (10, 3, None, 9), (10, 3, 5, 5), (10, 1, 50, 50)],
)
def test_steps(rows: int, epochs: float, max_steps: int | None, steps: int) -> None:
    assert schedule.total_steps(rows, batch_size=4, epochs=epochs, max_steps=max_steps) == steps


@pytest.mark.parametrize(("total", "evaluations"), [(10, 3), (3, 10), (1, 1), (100, 10)])
def test_the_last_step_is_evaluated(total: int, evaluations: int) -> None:
    steps = schedule.evaluation_steps(total, evaluations)
    assert max(steps) == total
    assert min(steps) >= 1
    assert len(steps) == min(total, evaluations)
