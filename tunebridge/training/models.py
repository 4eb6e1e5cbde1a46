"""Loading base models, tokenizers and adapters; safetensors only, and no code from a model folder is run."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tunebridge.errors import DataError, SpecError
from tunebridge.training import attention
from tunebridge.training.config import RANDOM, AdapterConfig
from tunebridge.training.sources import locate
from tunebridge.training.tokenizer import hub_errors
from tunebridge.training.tokenizer import load_tokenizer as load_tokenizer


def load_base(name: str, *, seed: int = 0, flat: bool = False) -> Any:
    """Return a base model in float32; `flat` with the trainer's attention over flat sequences.

    The name `random` gives the shipped model's shape with weights drawn from `seed`.
    """
    model = _load_base(name, seed)
    if flat:
        attention.use(model)
    return model


def _load_base(name: str, seed: int) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    source = locate(name)
    place = source.folder or source.name
    options: dict[str, Any] = {"trust_remote_code": False}
    with hub_errors(name):
        if name == RANDOM:
            torch.manual_seed(seed)
            config = AutoConfig.from_pretrained(place)
            return AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                config, dtype=torch.float32, **options
            )
        return AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, use_safetensors=True, **options)


def add_adapter(model: Any, config: AdapterConfig, *, seed: int) -> Any:
    """Return the model with a fresh LoRA adapter, its start drawn from `seed`; other weights are frozen."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # a float works; the annotation says int
        lora_dropout=config.dropout,
        target_modules=list(config.target_modules) if config.target_modules else "all-linear",
        task_type="CAUSAL_LM",
    )
    try:
        with _quiet():
            return get_peft_model(model, lora)
    except ValueError as error:
        raise SpecError(f"The adapter does not fit the model: {error}. Change method.adapter.target_modules.") from None


def load_tuned(base_model: str, adapter: Path | None) -> Any:
    """Return a model for generation, with the adapter merged into the weights; on a GPU where there is one."""
    model = load_base(base_model)
    if adapter is not None:
        from peft import PeftModel

        with _quiet():
            model = PeftModel.from_pretrained(model, str(adapter), use_safetensors=True).merge_and_unload()
    if torch.cuda.is_available():
        model = model.to("cuda", torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32)
    return model.eval()


def save(model: Any, base_model: str, folder: Path) -> None:
    """Write an adapter, or a whole model, as safetensors; an adapter names its base model as the job did."""
    if not hasattr(model, "peft_config"):
        model.save_pretrained(folder)
        return
    for config in model.peft_config.values():
        config.base_model_name_or_path = base_model
    # Left to itself peft asks the hub whether the embeddings were changed; adapters never change them.
    model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)


def weights_folder(name: str) -> Path | None:
    """Return where a base model's weights lie on this machine: its folder, or the hub's cache."""
    source = locate(name)
    if source.folder is not None:
        return source.folder
    from transformers.utils.hub import cached_file

    found = cached_file(name, "config.json", local_files_only=True, _raise_exceptions_for_missing_entries=False)
    return Path(found).parent if found else None


def check_tokenizer(model: Any, tokenizer: Any) -> None:
    """Raise DataError when the tokenizer has tokens that the model has no row for."""
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise DataError(f"the tokenizer has {len(tokenizer)} tokens, the model {rows}. Use the model's own tokenizer.")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep warnings that peft causes inside transformers, and that no user can act on, out of the log."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
        yield
