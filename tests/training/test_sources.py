"""Where base models come from."""

from pathlib import Path

import pytest

from tunebridge.errors import SpecError
from tunebridge.training.sources import locate, packaged_nano


def test_a_folder_without_safe_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no config.json"):
        locate(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SpecError, match="holds no weights"):
        locate(str(tmp_path))
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(SpecError, match="pickled weights only"):
        locate(str(tmp_path))


def test_names_are_told_from_folders(tmp_path: Path) -> None:
    assert locate("tunebridge/nano").context_length == 1024
    assert locate("random").folder == packaged_nano()
    assert locate("someone/model").folder is None
    with pytest.raises(SpecError, match="There is no model folder"):
        locate(str(tmp_path / "nothing"))


def test_the_shipped_model_is_small_and_safe() -> None:
    files = list(packaged_nano().iterdir())
    assert sum(path.stat().st_size for path in files) < 12_000_000
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".jinja", ".md", ""}
