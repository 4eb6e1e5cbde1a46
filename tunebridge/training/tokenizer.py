"""Loading tokenizers; nothing here imports torch by itself, so that a process that only renders rows starts fast."""

from typing import Any

from tunebridge.errors import SpecError
from tunebridge.training.sources import locate


def load_tokenizer(name: str) -> Any:
    """Return the tokenizer of a base model."""
    from transformers import AutoTokenizer

    source = locate(name)
    with hub_errors(name):
        tokenizer = AutoTokenizer.from_pretrained(source.folder or source.name, trust_remote_code=False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


class hub_errors:  # a context manager
    """Turn what transformers says of a missing or unreachable model into one clear sentence."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError | ValueError) and not isinstance(error, SpecError):
            first = str(error).strip().split("\n")[0].rstrip(".")
            raise SpecError(
                f"The base model {self._name!r} cannot be loaded: {first}. Give a model folder, a hub id that "
                f"this machine can reach, or tunebridge/nano."
            ) from error
