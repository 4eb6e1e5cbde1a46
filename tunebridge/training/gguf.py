"""A model as one GGUF file, the format of llama.cpp, through the `gguf` package; Llama-family models only.

What llama.cpp needs to know of the tokenizer is the way it cuts text before merging. Only ways that are recognised
exactly are written; for others llama.cpp's own converter, which knows many, takes the merged model.
"""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tunebridge.errors import MissingDependency, SpecError

FAMILIES = ("llama", "mistral")
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""Types of tokens."""


def write_gguf(model: Any, folder: Path, path: Path) -> None:
    """Write a transformers model and the tokenizer in `folder` as one file: matrices in float16, others in float32."""
    if find_spec("gguf") is None:
        raise MissingDependency("gguf", backend="local", extra="gguf")
    import gguf

    config = model.config
    if config.model_type not in FAMILIES or getattr(config, "rope_parameters", {}).get("rope_type") != "default":
        raise _unfit(f"a {config.model_type} model with this position encoding")
    vocabulary = _vocabulary(folder, config.vocab_size)
    writer = gguf.GGUFWriter(path, "llama")
    _add_shape(writer, config)
    _add_tokenizer(writer, vocabulary, folder, config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in _tensors(model):
        theirs = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if theirs is None:
            raise _unfit(f"a layer called {name}")
        number_format = torch.float16 if tensor.ndim > 1 else torch.float32
        writer.add_tensor(theirs, tensor.to(number_format).contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights; queries and keys with the halves of each head interleaved, as llama.cpp rotates them."""
    heads, groups = model.config.num_attention_heads, model.config.num_key_value_heads
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        if ".q_proj." in name:
            tensor = interleave(tensor, heads)
        elif ".k_proj." in name:
            tensor = interleave(tensor, groups)
        yield name, tensor.detach().cpu().float()


def interleave(tensor: Tensor, heads: int) -> Tensor:
    """Lay row i and row i + half of each head behind each other."""
    return tensor.reshape(heads, 2, -1, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)


def _add_shape(writer: Any, config: Any) -> None:
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_file_type(1)  # mostly float16


def _add_tokenizer(writer: Any, vocabulary: list[tuple[str, int]], folder: Path, config: Any) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_pre_tokenizer(tokenizer))
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types([kind for _, kind in vocabulary])
    writer.add_token_merges(merges)
    for name in ("bos", "eos"):
        number = getattr(config, f"{name}_token_id")
        if isinstance(number, int):
            getattr(writer, f"add_{name}_token_id")(number)
    writer.add_add_bos_token(False)
    template = json.loads((folder / "tokenizer_config.json").read_text()).get("chat_template")
    kept = folder / "chat_template.jinja"
    template = template or (kept.read_text() if kept.is_file() else None)
    if template:  # llama.cpp's template engine does not know the marks that training uses
        writer.add_chat_template(_without_marks(template))


def _without_marks(template: str) -> str:
    for mark in ("{%- generation %}", "{%- endgeneration %}", "{% generation %}", "{% endgeneration %}"):
        template = template.replace(mark, "")
    return template


def _vocabulary(folder: Path, size: int) -> list[tuple[str, int]]:
    """Return (token, type) by number; numbers without a token are unused."""
    path = folder / "tokenizer.json"
    tokenizer: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"model": {"type": "none"}}
    if tokenizer["model"]["type"] != "BPE":
        raise _unfit(f"a tokenizer of the kind {tokenizer['model']['type']}")
    found = [(f"[unused{number}]", UNUSED) for number in range(size)]
    for token, number in tokenizer["model"]["vocab"].items():
        found[number] = (token, NORMAL)
    for added in tokenizer["added_tokens"]:
        found[added["id"]] = (added["content"], CONTROL if added["special"] else USER_DEFINED)
    return found


def _pre_tokenizer(tokenizer: dict[str, Any]) -> str:
    """Return llama.cpp's name for the way a tokenizer cuts text."""
    pre = tokenizer.get("pre_tokenizer") or {}
    steps = pre.get("pretokenizers", [pre])
    kinds = [step.get("type") for step in steps]
    is_plain = tokenizer.get("normalizer") is None and steps[-1].get("use_regex", False)
    is_plain = is_plain and not steps[-1].get("add_prefix_space", True)
    if is_plain and kinds == ["ByteLevel"]:
        return "gpt-2"
    if is_plain and kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
        return "smollm"
    raise _unfit("a tokenizer that cuts text in another way than GPT-2's or SmolLM's")


def _unfit(what: str) -> SpecError:
    return SpecError(
        f"The GGUF export does not know {what}. Export with --to merged and use llama.cpp's convert_hf_to_gguf.py."
    )
