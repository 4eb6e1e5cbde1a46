"""Adapters beside frozen weights, through PEFT: LoRA and its variants, and rows for tokens that are new."""

from pathlib import Path
from typing import Any

import torch

from tunebridge.errors import SpecError
from tunebridge.training import models
from tunebridge.training.config import AdapterConfig


def add_adapter(model: Any, config: AdapterConfig, *, seed: int, new_tokens: range = range(0)) -> Any:
    """Return the model with a fresh adapter, its start drawn from `seed`; other weights are frozen.

    The embeddings of `new_tokens` (see `grow`) are trained as well, and kept with the adapter.
    """
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # a float works; the annotation says int
        lora_dropout=config.dropout,
        target_modules=list(config.target_modules) if config.target_modules else "all-linear",
        use_rslora=config.type == "rslora",
        use_dora=config.type == "dora",
        trainable_token_indices={name: list(new_tokens) for name in _embeddings(model)} if new_tokens else None,
        task_type="CAUSAL_LM",
    )
    try:
        with models.quiet():
            return get_peft_model(model, lora)
    except ValueError as error:
        raise SpecError(f"The adapter does not fit the model: {error}. Change method.adapter.target_modules.") from None


def grow(model: Any, tokens: int) -> range:
    """Give a model a row for each token of its tokenizer and return the new ones; they begin as the mean of the old."""
    rows = model.get_input_embeddings().weight.shape[0]
    if tokens <= rows:
        return range(0)
    model.resize_token_embeddings(tokens, mean_resizing=False)
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        if layer is not None:
            with torch.no_grad():
                layer.weight[rows:] = layer.weight[:rows].mean(0)
    return range(rows, tokens)


def merged(model: Any, adapter: Path) -> Any:
    """Return a base model with an adapter folder merged into its weights."""
    from peft import PeftModel
    from transformers import AutoTokenizer

    if any(adapter.glob("tokenizer*")):
        grow(model, len(AutoTokenizer.from_pretrained(adapter, trust_remote_code=False)))
    with models.quiet():
        return PeftModel.from_pretrained(model, str(adapter), use_safetensors=True).merge_and_unload()


def _embeddings(model: Any) -> list[str]:
    """Return the names of the layers that hold a row for each token; a head that shares its rows is not named."""
    layers = [model.get_input_embeddings()]
    head = model.get_output_embeddings()
    if head is not None and head.weight is not layers[0].weight:
        layers.append(head)
    return [name.rpartition(".")[2] for name, module in model.named_modules() if any(module is x for x in layers)]
