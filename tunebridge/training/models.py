"""Loading base models, tokenizers and adapters; safetensors only, and no code from a model folder is run."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from tunebridge.errors import MissingDependency, SpecError
from tunebridge.training import attention
from tunebridge.training.config import RANDOM
from tunebridge.training.sources import locate
from tunebridge.training.tokenizer import hub_errors
from tunebridge.training.tokenizer import load_tokenizer as load_tokenizer


def load_base(name: str, *, seed: int = 0, flat: bool = False, in_4_bits_on: str | None = None) -> Any:
    """Return a base model in float32; `flat` with attention over flat sequences.

    `in_4_bits_on` is a device: the linear layers lie there in 4 bits.

    The name `random` gives the shipped model's shape with weights drawn from `seed`.
    """
    model = _load_base(name, seed, _four_bits(in_4_bits_on) if in_4_bits_on else {})
    if flat:
        attention.use(model)
    return model


def _four_bits(device: str) -> dict[str, Any]:
    """Return how transformers loads a model in 4 bits (NF4, as in QLoRA); MissingDependency without bitsandbytes."""
    if find_spec("bitsandbytes") is None:
        raise MissingDependency("bitsandbytes", backend="local", extra="qlora")
    from transformers import BitsAndBytesConfig

    quantization: Any = BitsAndBytesConfig
    config = quantization(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    return {"quantization_config": config, "device_map": {"": device}}


def _load_base(name: str, seed: int, options: dict[str, Any]) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    source = locate(name)
    place = source.folder or source.name
    options = {"trust_remote_code": False, **options}
    with hub_errors(name):
        if name == RANDOM:
            torch.manual_seed(seed)
            config = AutoConfig.from_pretrained(place)
            return AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                config, dtype=torch.float32, **options
            )
        return AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, use_safetensors=True, **options)


def checkpoint_activations(model: Any) -> None:
    """Let each layer keep its input only and compute the rest again for the backward pass; SpecError if it cannot."""
    try:
        model.activation_checkpointing_enable()
    except ValueError as error:
        raise SpecError(
            f"The run does not fit into memory: {error} Lower hyperparameters.max_length, or choose a smaller model.",
            key="hyperparameters.max_length",
        ) from None


def load_tuned(base_model: str, adapter: Path | None) -> Any:
    """Return a model for generation, with the adapter merged into the weights; on a GPU where there is one."""
    from tunebridge.training.adapters import merged

    model = load_base(base_model)
    if adapter is not None:
        model = merged(model, adapter)
    if torch.cuda.is_available():
        model = model.to("cuda", torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32)
    return model.eval()


def save(model: Any, base_model: str, folder: Path, weights: Mapping[str, torch.Tensor] | None = None) -> None:
    """Write an adapter, or a whole model, as safetensors; an adapter names its base model as the job did.

    `weights` stand in for those of a model that lies in parts.
    """
    if not hasattr(model, "peft_config"):
        model.save_pretrained(folder, state_dict=weights)
        return
    for config in model.peft_config.values():
        config.base_model_name_or_path = base_model
    # Left to itself peft asks the hub whether the embeddings were changed; adapters never change them.
    model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False, state_dict=weights)


def weights_folder(name: str) -> Path | None:
    """Return where a base model's weights lie on this machine: its folder, or the hub's cache."""
    source = locate(name)
    if source.folder is not None:
        return source.folder
    from transformers.utils.hub import cached_file

    found = cached_file(name, "config.json", local_files_only=True, _raise_exceptions_for_missing_entries=False)
    return Path(found).parent if found else None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings that peft causes inside transformers, and that no user can act on, out of the log."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")  # peft then sets it right itself
        yield
