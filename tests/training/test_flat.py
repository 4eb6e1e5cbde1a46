"""Rows in one flat sequence give the loss, the gradients and the scores that each row gives alone."""

from collections.abc import Sequence
from typing import Any

import pytest

from tunebridge.data.rendering.render import RenderedRow
from tunebridge.errors import SpecError

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from tunebridge.training import adapters, attention, models  # noqa: E402
from tunebridge.training.apart import check_rows_stay_apart  # noqa: E402
from tunebridge.training.config import AdapterConfig  # noqa: E402
from tunebridge.training.device import Resources  # noqa: E402
from tunebridge.training.objective import Imitation  # noqa: E402
from tunebridge.training.packing import FlatBatch, epoch_order, flat_batches, flatten, step_rows  # noqa: E402
from tunebridge.training.rows import Unit  # noqa: E402

FLOAT32, CPU = Resources("cpu", 1, "float32", ""), torch.device("cpu")
LENGTHS = (5, 41, 2, 350, 40, 39, 7, 6, 340, 90)
"""Short rows take the explicit products, those above 320 tokens the fused kernel."""


def make_rows(lengths: Sequence[int] = LENGTHS, vocabulary: int = 2048) -> list[RenderedRow]:
    generator = torch.Generator().manual_seed(1)
    rows = []
    for length in lengths:
        ids = torch.randint(3, vocabulary, (length,), generator=generator).tolist()
        rows.append(RenderedRow(ids, [place % 3 != 1 for place in range(length)]))
    return rows


def units(rows: Sequence[RenderedRow]) -> list[Unit]:
    return [Unit((row,)) for row in rows]


def flat(rows: Sequence[RenderedRow]) -> FlatBatch:
    return flatten(units(rows), CPU)


def make_model(**changes: Any) -> Any:
    """Return a small random model of the Llama, Mistral or Qwen3 kind."""
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8,
        "num_key_value_heads": 4, "vocab_size": 97, "max_position_embeddings": 512, "initializer_range": 0.3,
    }  # fmt: skip
    torch.manual_seed(0)
    config = AutoConfig.for_model(**{"model_type": "llama", **shape, **changes})
    make: Any = AutoModelForCausalLM.from_config
    return make(config, attn_implementation="eager").eval()


def plain_loss(model: Any, row: RenderedRow) -> Any:
    """Return the loss as anybody would compute it."""
    targets = [token if mark else -100 for token, mark in zip(*row, strict=True)]
    logits = model(input_ids=torch.tensor([row.token_ids])).logits[0, :-1]
    return functional.cross_entropy(logits, torch.tensor(targets[1:]), reduction="sum")


def gradients(model: Any) -> dict[str, Any]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_key_value_heads": 2},
        {"model_type": "mistral", "sliding_window": 16},
        {"model_type": "qwen3", "use_sliding_window": False},
    ],
    ids=["llama", "grouped", "sliding", "qwen3"],
)
def test_flat_scores_are_those_of_the_models_own_attention(changes: dict[str, Any]) -> None:
    model = make_model(**changes)
    rows = make_rows(vocabulary=97)
    with torch.inference_mode():
        alone = torch.cat([model(input_ids=torch.tensor([row.token_ids])).logits[0] for row in rows])
        attention.use(model)
        batch = flat(rows)
        together = model(input_ids=batch.token_ids, position_ids=batch.position_ids, layout=batch.layout).logits[0]
    assert torch.allclose(together, alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("adapter", [True, False], ids=["lora", "full"])
def test_loss_and_gradients_do_not_depend_on_packing_or_passes(adapter: bool) -> None:
    rows = make_rows()
    model = models.load_base("random", seed=1)
    if adapter:
        model = adapters.add_adapter(model, AdapterConfig(type="lora", rank=4), seed=1)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.02)
    losses = [plain_loss(model, row) for row in rows]
    torch.stack(losses).sum().backward()
    expected, total = gradients(model), sum(loss.item() for loss in losses)
    attention.use(model.base_model.model if adapter else model)
    for limit in (100_000, 400, 1):
        model.zero_grad()
        batches = flat_batches(units(rows), max_tokens=limit, device=CPU)
        parts = [Imitation().measure(model, batch, FLOAT32).loss for batch in batches]
        torch.stack(parts).sum().backward()
        assert sum(part.item() for part in parts) == pytest.approx(total, rel=1e-5)
        for name, gradient in gradients(model).items():
            assert (gradient - expected[name]).norm() <= 1e-4 * expected[name].norm() + 1e-6, name


def test_flat_batches_hold_every_row_once_and_no_padding() -> None:
    rows = make_rows()
    found = list(flat_batches(units(rows), max_tokens=120, device=CPU))
    assert sum(batch.tokens for batch in found) == sum(LENGTHS)
    assert all(batch.tokens <= 120 for batch in found if batch.tokens not in LENGTHS)
    assert sum(len(batch.targets) for batch in found) == sum(row.trained_tokens for row in rows)


def test_one_row_cannot_be_seen_from_another() -> None:
    model = models.load_base("random", seed=1, flat=True).eval()
    first, second = make_rows((12, 12))
    other = RenderedRow([token + 1 if token < 2047 else 3 for token in first.token_ids], first.is_trained)
    scores = []
    with torch.inference_mode():
        for neighbour in (first, other):
            batch = flat([neighbour, second])
            out = model(input_ids=batch.token_ids, position_ids=batch.position_ids, layout=batch.layout)
            scores.append(out.logits[0, 12:])
    assert torch.equal(*scores)


def test_models_that_mix_rows_are_refused() -> None:
    check_rows_stay_apart(make_model(), make_rows((20, 20), 97))
    check_rows_stay_apart(make_model(), make_rows((3,), 97))
    recurrent = {"model_type": "mamba", "state_size": 8, "expand": 2, "conv_kernel": 4}
    with pytest.raises(SpecError, match="cannot be trained here"):
        check_rows_stay_apart(make_model(**recurrent), make_rows((20, 20), 97))


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    orders = [epoch_order(10, seed=1, epoch=epoch) for epoch in (0, 1)]
    assert orders[0] != orders[1]
    assert epoch_order(10, seed=1, epoch=0) == orders[0]
    assert epoch_order(10, seed=2, epoch=0) != orders[0]
    steps = [step_rows(step, 10, batch_size=4, seed=1) for step in range(6)]
    assert [len(rows) for rows in steps] == [4, 4, 2, 4, 4, 2]
    assert [row for rows in steps for row in rows] == [*orders[0], *orders[1]]
