"""What was made faster gives the losses and gradients of what it replaces."""

from typing import Any

import pytest

from tests.training.runs import LORA

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from tests.training.test_flat import CPU, FLOAT32, gradients, make_model, make_rows  # noqa: E402
from tunebridge.training import adapters, attention, head  # noqa: E402
from tunebridge.training.device import Resources  # noqa: E402
from tunebridge.training.fused import fuse  # noqa: E402
from tunebridge.training.head import fuse_head, token_losses  # noqa: E402
from tunebridge.training.last import trim_last_layer  # noqa: E402
from tunebridge.training.packing import FlatBatch, flatten  # noqa: E402
from tunebridge.training.rows import Unit  # noqa: E402

PLAIN = LORA.model_copy(update={"dropout": 0.0})
BFLOAT16 = Resources("cpu", 1, "bfloat16", "")


def batch() -> FlatBatch:
    return flatten([Unit((row,)) for row in make_rows((5, 41, 200, 90), 97)], CPU)


def adapted(adapter: Any = PLAIN, **changes: Any) -> Any:
    """Return a small model with an adapter that has left its start."""
    model = make_model(**changes)
    attention.use(model)
    model = adapters.add_adapter(model, adapter, seed=1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def measured(model: Any, resources: Resources = FLOAT32) -> tuple[Any, dict[str, Any]]:
    model.zero_grad()
    losses = token_losses(model, batch(), resources)
    losses.sum().backward()
    return losses.detach(), gradients(model)


def assert_close(found: tuple[Any, dict[str, Any]], expected: tuple[Any, dict[str, Any]], tolerance: float) -> None:
    assert (found[0] - expected[0]).norm() <= tolerance * expected[0].norm()
    assert found[1].keys() == expected[1].keys()
    for name, gradient in found[1].items():
        assert (gradient - expected[1][name]).norm() <= tolerance * expected[1][name].norm(), name


@pytest.mark.parametrize("changes", [{}, {"model_type": "qwen2"}, {"num_key_value_heads": 2}], ids=str)
def test_lora_layers_in_one_step(changes: dict[str, Any]) -> None:
    model = adapted(**changes)  # qwen2 has biases
    expected = measured(model)
    assert fuse(model) == 14
    assert_close(measured(model), expected, 1e-4)
    with torch.no_grad(), model.disable_adapter():
        assert not torch.allclose(token_losses(model, batch(), FLOAT32), expected[0])


@pytest.mark.parametrize("changes", [{"dropout": 0.1}, {"type": "dora"}], ids=str)
def test_layers_that_are_not_plain_stay_as_they_are(changes: dict[str, Any]) -> None:
    assert fuse(adapted(PLAIN.model_copy(update=changes))) == 0


def test_losses_without_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "PIECE_LOGITS", 97 * 30)
    model = adapted()
    expected = measured(model)
    assert fuse_head(model, batch())
    assert_close(measured(model), expected, 1e-4)
    out = model(input_ids=torch.tensor([[1, 2, 3]]), position_ids=torch.arange(3)[None], layout=_layout(3))
    assert out.logits.shape == (1, 3, 97)


def test_heads_that_do_more_or_are_trained_stay_as_they_are() -> None:
    assert not fuse_head(adapted(model_type="granite", logits_scaling=2.0), batch())
    full = make_model()
    attention.use(full)
    assert not fuse_head(full, batch())


@pytest.mark.parametrize(
    "changes",
    [{}, {"model_type": "qwen3"}, {"model_type": "gemma2", "attn_logit_softcapping": None}],
    ids=str,
)
@pytest.mark.parametrize("full", [False, True])
def test_the_last_layer_for_the_tokens_that_count(changes: dict[str, Any], full: bool) -> None:
    model = make_model(**changes) if full else adapted(**changes)
    attention.use(model)
    expected = measured(model)
    assert trim_last_layer(model, batch(), FLOAT32)
    rows: list[int] = []
    shape = model.get_decoder().layers[-1].mlp.register_forward_hook(lambda _, args, out: rows.append(out.shape[1]))
    assert_close(measured(model), expected, 1e-4)
    shape.remove()
    part = model.get_decoder().layers[-1].mlp.gate_proj
    part.register_forward_hook(lambda _, args, out: rows.append(out.shape[1]))
    measured(model)
    kept, tokens = batch().kept, batch().tokens
    assert kept is not None
    assert rows == [tokens, len(kept)]
    models_checkpointing(model)
    assert_close(measured(model), expected, 1e-4)


def models_checkpointing(model: Any) -> None:
    from tunebridge.training.models import checkpoint_activations

    checkpoint_activations(model)
    model.train()


def test_a_last_layer_that_does_more_stays_as_it_is() -> None:
    model = adapted()
    mlp = model.get_decoder().layers[-1].mlp
    plain = mlp.forward
    mlp.forward = lambda states: plain(states) + states.cumsum(1)  # it mixes tokens
    expected = measured(model)
    assert not trim_last_layer(model, batch(), FLOAT32)
    assert_close(measured(model), expected, 1e-6)


def test_bfloat16_stays_near_float32() -> None:
    model = adapted(initializer_range=0.1)
    expected = measured(model)
    for name, parameter in model.named_parameters():
        if "lora_" not in name:
            parameter.data = parameter.data.to(torch.bfloat16)
    fuse(model)
    assert fuse_head(model, batch())
    found = measured(model, BFLOAT16)
    assert all(gradient.dtype == torch.float32 for gradient in found[1].values())
    assert_close(found, expected, 0.1)


def _layout(length: int) -> Any:
    from tunebridge.training.sharing import apart

    return attention.layout(apart([length]).pieces, CPU)
