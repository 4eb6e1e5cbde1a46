"""Adapters: each kind trains, is merged into what it scored, and new tokens get rows of their own."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.runs import FULL, LORA, last_message, make_run, metrics, result, stop_after, train, weights
from tests.training.test_flat import make_model
from tunebridge.training.config import AdapterConfig

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from tunebridge.training import adapters, models  # noqa: E402

HAS_BITSANDBYTES = importlib.util.find_spec("bitsandbytes") is not None


@pytest.mark.parametrize("kind", ["lora", "rslora", "dora"])
def test_a_kind_of_adapter_learns_and_is_merged(kind: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", adapter=AdapterConfig.model_validate({"type": kind, "rank": 4}))
    assert train(folder) == 0, last_message(folder)
    written = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert (written["use_rslora"], written["use_dora"]) == (kind == "rslora", kind == "dora")
    found = metrics(folder)
    assert found["validation_loss", 12] < found["validation_loss", 4]
    base, tuned = models.load_base("random", seed=3), models.load_base("random", seed=3)
    tuned = adapters.merged(tuned, folder / "adapter")
    changed = [n for n, weight in tuned.named_parameters() if not torch.equal(weight, base.get_parameter(n))]
    assert {name.split(".")[-2] for name in changed} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip


def test_target_modules_are_found_for_another_architecture() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model("gpt2", n_embd=16, n_layer=1, n_head=2, vocab_size=50)
    make: Any = AutoModelForCausalLM.from_config
    model = adapters.add_adapter(make(config), LORA, seed=0)
    adapted = {name.split(".lora_A")[0].rpartition(".")[2] for name, _ in model.named_parameters() if "lora_A" in name}
    assert adapted == {"c_attn", "c_proj", "c_fc"}


@pytest.mark.skipif(HAS_BITSANDBYTES, reason="bitsandbytes is installed")
def test_qlora_without_bitsandbytes_says_what_to_install(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", adapter=LORA.model_copy(update={"type": "qlora"}))
    assert train(folder) == 2
    assert 'pip install "tunebridge[qlora]"' in last_message(folder)


@pytest.mark.skipif(not HAS_BITSANDBYTES, reason="bitsandbytes is not installed")
@pytest.mark.filterwarnings("ignore")
def test_qlora_trains_beside_four_bit_weights(tmp_path: Path) -> None:
    model = make_model(hidden_size=64, intermediate_size=128, vocab_size=2048, head_dim=16, initializer_range=0.05)
    model.save_pretrained(tmp_path / "model")
    models.load_tokenizer("tunebridge/nano").save_pretrained(tmp_path / "model")
    measured = []
    for kind in ("lora", "qlora"):
        adapter = LORA.model_copy(update={"type": kind, "dropout": 0.0})
        folder = make_run(tmp_path / kind, adapter=adapter, base_model=str(tmp_path / "model"), dtype="float32")
        assert train(folder) == 0, last_message(folder)
        measured.append(metrics(folder))
    plain, four_bits = measured
    assert four_bits["train_loss", 1] == pytest.approx(plain["train_loss", 1], rel=0.02)
    assert four_bits["train_loss", 1] != plain["train_loss", 1]
    assert four_bits["validation_loss", 12] == pytest.approx(plain["validation_loss", 12], rel=0.05)


@pytest.mark.skipif(not HAS_BITSANDBYTES, reason="bitsandbytes is not installed")
@pytest.mark.filterwarnings("ignore")
def test_qlora_on_layers_that_do_not_fit_is_said(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", adapter=LORA.model_copy(update={"type": "qlora"}), base_model="tunebridge/nano")
    assert train(folder) == 2
    assert "cannot be computed in 4 bits here" in last_message(folder)


@pytest.mark.skipif(HAS_BITSANDBYTES, reason="bitsandbytes is installed")
def test_averages_in_8_bits_without_bitsandbytes_say_what_to_install(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", optimizer="adamw_8bit")
    assert train(folder) == 2
    assert 'pip install "tunebridge[qlora]"' in last_message(folder)


@pytest.mark.skipif(not HAS_BITSANDBYTES, reason="bitsandbytes is not installed")
@pytest.mark.filterwarnings("ignore")
def test_averages_in_8_bits_learn_alike_and_are_resumed(tmp_path: Path) -> None:
    changes = {"adapter": FULL, "learning_rate": 3e-3}
    plain = make_run(tmp_path / "plain", **changes)
    calm, folder = (make_run(tmp_path / name, **changes, optimizer="adamw_8bit") for name in ("calm", "run"))
    for undisturbed in (plain, calm):
        assert train(undisturbed) == 0, last_message(undisturbed)
    while not (folder / "result.json").exists():
        assert train(folder, stop_after(5)) == 0, last_message(folder)
    assert weights(folder) == weights(calm)
    assert weights(calm) != weights(plain)
    ours, theirs = metrics(calm)["validation_loss", 12], metrics(plain)["validation_loss", 12]
    assert ours == pytest.approx(theirs, rel=0.05)
    assert ours < 0.9 * metrics(calm)["validation_loss", 4]
    sizes = [max((path / "checkpoints").rglob("optimizer.safetensors")).stat().st_size for path in (calm, plain)]
    assert sizes[0] < 0.3 * sizes[1]


@pytest.fixture
def with_new_tokens(tmp_path: Path) -> Path:
    """The shipped model with two tokens that it has no rows for."""
    folder = tmp_path / "model"
    models.load_base("tunebridge/nano").save_pretrained(folder)
    tokenizer = models.load_tokenizer("tunebridge/nano")
    assert tokenizer.add_tokens(["red", "colour"]) == 2
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("adapter", [LORA, FULL], ids=["lora", "full"])
def test_rows_of_new_tokens_are_trained(adapter: AdapterConfig, with_new_tokens: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", adapter=adapter, base_model=str(with_new_tokens))
    assert train(folder) == 0, last_message(folder)
    assert result(folder)["metrics"]["validation_loss"] < 1
    tuned = (
        models.load_tuned(str(folder / "model"), None)
        if adapter is FULL
        else models.load_tuned(str(with_new_tokens), folder / "adapter")
    )
    rows = tuned.get_input_embeddings().weight
    before = models.load_base(str(with_new_tokens)).get_input_embeddings().weight
    assert len(rows) == len(models.load_tokenizer(str(with_new_tokens))) > len(before)
    assert not torch.allclose(rows[-1], before.mean(0), atol=1e-3)
    if adapter is LORA:
        assert torch.equal(rows[: len(before)], before)
