"""Where a base model comes from: the shipped one, a folder, or a hub id; looks without importing torch."""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from tunebridge.errors import SpecError
from tunebridge.training.config import NANO, RANDOM

DEFAULT_MAX_LENGTH = 2048
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True)
class ModelSource:
    """A base model that was found."""

    name: str
    """`tunebridge/nano`, `random`, an absolute folder or a hub id."""
    folder: Path | None
    """Where its files lie; None for a hub id, which only the trainer resolves."""
    context_length: int | None
    """Most tokens per row, where that is known."""

    @property
    def default_max_length(self) -> int:
        """Tokens per row at most where a job does not say."""
        return min(self.context_length or DEFAULT_MAX_LENGTH, DEFAULT_MAX_LENGTH)


def locate(name: str) -> ModelSource:
    """Find a base model; SpecError when a folder is meant that holds no model, or only pickled weights."""
    if name in (NANO, RANDOM):
        folder = packaged_nano()
        return ModelSource(name, folder, _context_length(folder))
    path = Path(name).expanduser()
    if path.is_dir():
        check_folder(path)
        return ModelSource(str(path.absolute()), path.absolute(), _context_length(path))
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise SpecError(
            f"There is no model folder {name!r}. Give an existing folder, a hub id or {NANO}.", key="base_model"
        )
    return ModelSource(name, None, None)


def packaged_nano() -> Path:
    """Return the folder of the model that is shipped with TuneBridge."""
    return Path(str(files("tunebridge.models").joinpath("nano")))


def check_folder(folder: Path) -> None:
    """Raise SpecError unless the folder holds a Hugging Face model with safetensors weights."""
    if not (folder / "config.json").is_file():
        raise SpecError(
            f"{folder} is no model folder: it has no config.json. Give a folder that has.", key="base_model"
        )
    if any(folder.glob("*.safetensors")):
        return
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED)
    if pickled:
        raise SpecError(
            f"{folder} holds pickled weights only ({', '.join(pickled[:3])}), which can run code when they are loaded. "
            f"Convert them to safetensors first.",
            key="base_model",
        )
    raise SpecError(f"{folder} holds no weights. Give a folder with *.safetensors files.", key="base_model")


def _context_length(folder: Path) -> int | None:
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return None
    text_config = config.get("text_config", config)
    length = text_config.get("max_position_embeddings")
    return int(length) if length else None
