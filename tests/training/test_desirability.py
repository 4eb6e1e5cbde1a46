"""Kahneman-Tversky optimisation: the loss by the formula, what a step compares, exact resume."""

from pathlib import Path
from typing import Any

import pytest

from tests.training.runs import CONFIG, FULL, LORA, last_message, make_run, metrics, stop_after, train, weights
from tunebridge.data.example import Example, Message
from tunebridge.errors import DataError
from tunebridge.testing.case import small_dataset

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from tests.training.test_preference import CPU, FLOAT32, log_probability  # noqa: E402
from tunebridge.training import adapters, attention, models  # noqa: E402
from tunebridge.training.config import RunConfig  # noqa: E402
from tunebridge.training.objective import Desirability, log_ratios, means, mismatched  # noqa: E402
from tunebridge.training.packing import flatten  # noqa: E402
from tunebridge.training.rows import Unit, render_judged, render_split  # noqa: E402

NO_DROPOUT = LORA.model_copy(update={"dropout": 0.0})


def units(rows: int = 4) -> tuple[Unit, ...]:
    tokenizer = models.load_tokenizer("tunebridge/nano")
    run = CONFIG.model_copy(update={"method": "kto"})
    return render_split(small_dataset(kind="kto", rows=rows).train, tokenizer, run).units


def test_the_loss_is_the_papers_formula() -> None:
    base = models.load_base("tunebridge/nano")
    judged = units()
    rows = [unit.rows[0] for unit in (*judged, *mismatched(judged, 128))]
    before = [log_probability(base, row).item() for row in rows]
    model = adapters.add_adapter(base, NO_DROPOUT, seed=1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    ratios = [log_probability(model, row) - known for row, known in zip(rows, before, strict=True)]
    kl = max(0.0, sum(ratio.item() for ratio in ratios[4:]) / 4)
    gains = [
        0.3 * ((ratio - kl) if unit.is_good else (kl - ratio)) for ratio, unit in zip(ratios, judged, strict=False)
    ]
    attention.use(model.base_model.model)

    @torch.no_grad()
    def log_ratio(rows: Any) -> float:
        return float(log_ratios(model, flatten(rows, CPU), FLOAT32).mean())

    objective = Desirability(0.3, max_length=128).of_step(judged, log_ratio)
    assert objective.kl == pytest.approx(kl, rel=1e-3, abs=1e-4)
    outcome = objective.measure(model, flatten(judged, CPU), FLOAT32)
    assert outcome.loss.item() == pytest.approx(sum(1 - gain.sigmoid() for gain in gains).item(), rel=1e-4)
    said = means(outcome.sums, 4)
    assert said["kl"] == pytest.approx(kl, rel=1e-3, abs=1e-4)
    assert said["reward_desirable"] == pytest.approx(0.15 * (ratios[0] + ratios[2]).item(), rel=1e-3)


def test_each_question_gets_the_answer_of_the_row_before() -> None:
    tokenizer = models.load_tokenizer("tunebridge/nano")
    judged = units(3)
    texts = [tokenizer.decode(unit.rows[0].token_ids) for unit in mismatched(judged, 128)]
    assert [text.count("red") for text in texts] == [1, 1, 0]
    assert [f"ball {number}?" in text for number, text in enumerate(texts)] == [True] * 3
    assert all(len(unit.rows[0].token_ids) == 20 for unit in mismatched(judged, 20))


def test_a_measure_that_nothing_counts_for_is_left_out() -> None:
    assert means({"kl": 4.0, "good": 0.0, "good:count": 0.0, "bad": 3.0, "bad:count": 2.0}, 4) == {"kl": 1, "bad": 1.5}


def test_only_the_judged_answer_is_trained() -> None:
    tokenizer = models.load_tokenizer("tunebridge/nano")
    turns = [("user", "a"), ("assistant", "earlier"), ("user", "b"), ("assistant", "judged")]
    messages = tuple(Message.model_validate({"role": role, "content": text}) for role, text in turns)
    (row,) = render_judged(Example(messages=messages, label=False), tokenizer)
    assert tokenizer.decode([t for t, mark in zip(*row, strict=True) if mark]).startswith("judged")
    with pytest.raises(DataError, match="Choose the method sft"):
        render_judged(next(iter(small_dataset().train)), tokenizer)


@pytest.mark.parametrize("change", [{"adapter": FULL}, {"batch_size": 1}])
def test_what_it_cannot_do_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="kto"):
        RunConfig.model_validate({**CONFIG.model_dump(), "method": "kto", **change})


def test_a_stopped_run_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    changes = {"method": "kto", "learning_rate": 5e-3, "base_model": "tunebridge/nano"}
    calm, folder = make_run(tmp_path / "calm", **changes), make_run(tmp_path / "run", **changes)
    assert train(calm) == 0, last_message(calm)
    while not (folder / "result.json").exists():
        assert train(folder, stop_after(5)) == 0, last_message(folder)
    assert weights(folder) == weights(calm)
    found = metrics(calm)
    assert metrics(folder) == found
    assert found["train_loss", 1] == pytest.approx(0.5, abs=1e-2)
    assert found["train_loss", 12] < 0.4
    assert found["reward_desirable", 12] > found["reward_undesirable", 12]
    assert found["validation_kl", 12] >= 0
