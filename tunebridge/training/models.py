"""Loading base models, tokenizers and adapters; safetensors only, and no code from a model folder is run."""

from pathlib import Path
from typing import Any

import torch

from tunebridge.errors import DataError, SpecError
from tunebridge.training import attention
from tunebridge.training.config import RANDOM, AdapterConfig
from tunebridge.training.sources import locate


def load_tokenizer(name: str) -> Any:
    """Return the tokenizer of a base model."""
    from transformers import AutoTokenizer

    source = locate(name)
    with _hub_errors(name):
        tokenizer = AutoTokenizer.from_pretrained(source.folder or source.name, trust_remote_code=False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base(name: str, *, seed: int = 0, flat: bool = False) -> Any:
    """Return a base model in float32; `flat` with the trainer's attention over flat sequences.

    The name `random` gives the shipped model's shape with weights drawn from `seed`.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    source = locate(name)
    place = source.folder or source.name
    options: dict[str, Any] = {"trust_remote_code": False}
    if flat:
        attention.register()
        options["attn_implementation"] = attention.NAME
    with _hub_errors(name):
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
        return get_peft_model(model, lora)
    except ValueError as error:
        raise SpecError(f"The adapter does not fit the model: {error}. Change method.adapter.target_modules.") from None


def load_tuned(base_model: str, adapter: Path | None) -> Any:
    """Return a model for generation, with the adapter merged into the weights."""
    model = load_base(base_model)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter), use_safetensors=True).merge_and_unload()
    return model.eval()


def check_tokenizer(model: Any, tokenizer: Any) -> None:
    """Raise DataError when the tokenizer has tokens that the model has no row for."""
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise DataError(f"the tokenizer has {len(tokenizer)} tokens, the model {rows}. Use the model's own tokenizer.")


class _hub_errors:  # a context manager
    """Turn what transformers says of a missing or unreachable model into one clear sentence."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError | ValueError) and not isinstance(error, SpecError):
            first = str(error).strip().split("\n")[0]
            raise SpecError(
                f"The base model {self._name!r} cannot be loaded: {first}. Give a model folder, a hub id that "
                f"this machine can reach, or tunebridge/nano."
            ) from error
