"""Preference optimisation: the loss by the formula, the reference with and without an adapter, exact resume."""

from pathlib import Path
from typing import Any

import pytest

from tests.training.runs import FULL, LORA, last_message, make_run, metrics, result, stop_after, train, weights
from tunebridge.data.example import Example, Message
from tunebridge.errors import DataError
from tunebridge.testing.case import small_dataset

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from tunebridge.training import adapters, attention, models  # noqa: E402
from tunebridge.training.device import Resources  # noqa: E402
from tunebridge.training.objective import Preference  # noqa: E402
from tunebridge.training.packing import flatten  # noqa: E402
from tunebridge.training.rows import Unit, render_preference  # noqa: E402

FLOAT32, CPU = Resources("cpu", 1, "float32", ""), torch.device("cpu")
REWARDS = {"reward_accuracy", "reward_margin", "reward_preferred", "reward_rejected"}


def units() -> list[Unit]:
    tokenizer = models.load_tokenizer("tunebridge/nano")
    return [Unit(render_preference(row, tokenizer)) for row in small_dataset(kind="preference").train]


def log_probability(model: Any, row: Any) -> Any:
    """Return the log-probability of a row's answer as anybody would compute it."""
    scores = model(input_ids=torch.tensor([row.token_ids])).logits[0, :-1].log_softmax(-1)
    targets = torch.tensor(row.token_ids[1:])
    kept = torch.tensor(row.is_trained[1:])
    return scores[torch.arange(len(targets)), targets][kept].sum()


def test_the_loss_is_the_papers_formula() -> None:
    base = models.load_base("tunebridge/nano")
    pairs = units()[:3]
    reference = [[log_probability(base, row).item() for row in unit.rows] for unit in pairs]
    model = adapters.add_adapter(base, LORA.model_copy(update={"dropout": 0.0}), seed=1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    expected = []
    for unit, (preferred, rejected) in zip(pairs, reference, strict=True):
        better, worse = (log_probability(model, row) for row in unit.rows)
        expected.append(-functional.logsigmoid(0.3 * ((better - preferred) - (worse - rejected))))
    attention.use(model.base_model.model)
    for shown in (pairs, [unit._replace(reference=tuple(r)) for unit, r in zip(pairs, reference, strict=True)]):
        outcome = Preference(0.3).measure(model, flatten(shown, CPU), FLOAT32)
        assert outcome.loss.item() == pytest.approx(sum(expected).item(), rel=1e-4)
        assert outcome.sums.keys() == REWARDS


def test_a_pairs_question_is_computed_once() -> None:
    batch = flatten(units()[:2], CPU)
    assert batch.tokens < 0.7 * sum(unit.tokens for unit in units()[:2])
    assert len(set(batch.owners.tolist())) == 4


def test_only_the_compared_answers_are_trained() -> None:
    tokenizer = models.load_tokenizer("tunebridge/nano")
    turns = [("user", "a"), ("assistant", "earlier"), ("user", "b")]
    messages = tuple(Message.model_validate({"role": role, "content": text}) for role, text in turns)
    answers = {name: (Message(role="assistant", content=name),) for name in ("preferred", "rejected")}
    rows = render_preference(Example.model_validate({"messages": messages, **answers}), tokenizer)
    trained = [tokenizer.decode([t for t, mark in zip(*row, strict=True) if mark]) for row in rows]
    assert [text.startswith(name) for text, name in zip(trained, answers, strict=True)] == [True, True]
    assert not any("earlier" in text for text in trained)
    with pytest.raises(DataError, match="Choose the method sft"):
        render_preference(next(iter(small_dataset().train)), tokenizer)


@pytest.mark.parametrize("adapter", [LORA, FULL], ids=["lora", "full"])
def test_a_stopped_run_ends_as_an_undisturbed_one(adapter: Any, tmp_path: Path) -> None:
    changes = {"method": "dpo", "adapter": adapter, "learning_rate": 1e-3}
    calm, folder = make_run(tmp_path / "calm", **changes), make_run(tmp_path / "run", **changes)
    assert train(calm) == 0, last_message(calm)
    while not (folder / "result.json").exists():
        assert train(folder, stop_after(5)) == 0, last_message(folder)
    assert weights(folder) == weights(calm)
    assert metrics(folder) == metrics(calm)
    found = metrics(calm)
    assert found["train_loss", 1] == pytest.approx(0.6931, abs=1e-2)
    assert found["reward_accuracy", 12] == 1
    assert found["validation_reward_margin", 12] > 0.1
    assert result(calm)["metrics"].keys() >= REWARDS
    assert (calm / "reference.safetensors").exists() == (adapter is FULL)


def test_a_stop_while_the_reference_is_computed(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", method="dpo", adapter=FULL, max_steps=2)
    assert train(folder, stop_after(0)) == 0
    assert not (folder / "reference.safetensors").exists()
    assert train(folder) == 0
    assert result(folder)["steps"] == 2
