"""A result in other forms: whole models that score the same, a GGUF file with the same weights, a card that says it."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.runs import make_run, result, train
from tunebridge.data.dataset import Dataset, Split
from tunebridge.training import card, export

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from tunebridge.training import models  # noqa: E402

HAS_GGUF = importlib.util.find_spec("gguf") is not None


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("run") / "run", base_model="tunebridge/nano")
    assert train(folder) == 0
    return folder


def do_export(run: Path, monkeypatch: pytest.MonkeyPatch, to: str, output: Path, *extra: str) -> int:
    arguments = ["export", "--base-model", "tunebridge/nano", "--adapter", str(run / "adapter")]
    monkeypatch.setattr(sys, "argv", [*arguments, "--to", to, "--output", str(output), *extra])
    return export.main()


def scores(model: Any) -> Any:
    with torch.inference_mode():
        return model(input_ids=torch.tensor([[5, 6, 7, 300, 12]])).logits


def test_a_merged_model_scores_as_the_adapter(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert do_export(run, monkeypatch, "merged", tmp_path / "merged") == 0
    tuned = models.load_tuned("tunebridge/nano", run / "adapter")
    assert torch.allclose(scores(models.load_tuned(str(tmp_path / "merged"), None)), scores(tuned), atol=1e-5)
    assert not torch.allclose(scores(models.load_base("tunebridge/nano")), scores(tuned), atol=1e-2)
    assert models.load_tokenizer(str(tmp_path / "merged")).chat_template
    assert "library_name: transformers" in (tmp_path / "merged" / "README.md").read_text()


def test_as_trained_is_a_copy(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert do_export(run, monkeypatch, "safetensors", tmp_path / "out") == 0
    for path in (run / "adapter").iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_a_folder_that_is_there_is_not_touched(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    assert do_export(run, monkeypatch, "safetensors", tmp_path / "out") == 2
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(("offline", "says"), [(True, "HF_HUB_OFFLINE is set"), (False, "no token for the hub")])
def test_a_push_that_cannot_be_is_refused(
    offline: bool, says: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert do_export(run, monkeypatch, "safetensors", tmp_path / "out", "--push", "me/model") != 0
    assert says in capsys.readouterr().err


@pytest.mark.skipif(HAS_GGUF, reason="gguf is installed")
def test_gguf_without_its_package_says_what_to_install(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert do_export(run, monkeypatch, "gguf", tmp_path / "out") == 2
    assert 'pip install "tunebridge[gguf]"' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not HAS_GGUF, reason="gguf is not installed")
def test_a_gguf_file_holds_weights_and_tokenizer(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gguf

    assert do_export(run, monkeypatch, "gguf", tmp_path / "out") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.gguf", "README.md"}
    reader = gguf.GGUFReader(tmp_path / "out" / "model.gguf")
    tuned = models.load_tuned("tunebridge/nano", run / "adapter")
    found = {tensor.name: torch.tensor(tensor.data) for tensor in reader.tensors}
    weights = dict(tuned.named_parameters())
    assert len(found) == len(weights)
    down = weights["model.layers.1.mlp.down_proj.weight"]
    assert torch.allclose(found["blk.1.ffn_down.weight"].float(), down, atol=1e-3)
    size = tuned.config.head_dim
    query = weights["model.layers.0.self_attn.q_proj.weight"]
    assert torch.allclose(found["blk.0.attn_q.weight"][1].float(), query[size // 2], atol=1e-3)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["llama.attention.head_count"] == tuned.config.num_attention_heads
    tokens = fields["tokenizer.ggml.tokens"]
    tokenizer = models.load_tokenizer("tunebridge/nano")
    assert tokens[tokenizer.eos_token_id] == tokenizer.eos_token
    assert fields["tokenizer.ggml.pre"] == "smollm"
    assert "generation %}" not in fields["tokenizer.chat_template"]


def test_the_card_says_what_it_was_made_from(run: Path) -> None:
    text = (run / "adapter" / "README.md").read_text()
    found = result(run)
    rows = Dataset(Split.read(run / "train.jsonl"), Split.read(run / "validation.jsonl"))
    for said in (rows.fingerprint, found["base_model"]["digest"], found["versions"]["torch"], "license: other"):
        assert said in text
    assert f"| validation_loss | {found['metrics']['validation_loss']:.6g} |" in text
    assert "| adapter.rank | 4 |" in text


def test_the_licence_of_a_base_model(tmp_path: Path) -> None:
    assert card.license_of(None) is None
    assert card.license_of(tmp_path) is None
    (tmp_path / "LICENSE").write_text("")
    assert card.license_of(tmp_path) == "see LICENSE of the base model"
    (tmp_path / "README.md").write_text("---\ntags: [a]\nlicense: apache-2.0\n---\n# Model\n")
    assert card.license_of(tmp_path) == "apache-2.0"
