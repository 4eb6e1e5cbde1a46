"""How much memory a run needs, so that a batch is cut to what fits before it fails."""

from typing import Any

import torch

from tunebridge.errors import SpecError

SHARE_TO_USE = 0.6
"""Share of the free memory that activations may take; the estimate is rough."""
PREFERRED_TOKENS = {"cpu": 4096, "cuda": 16384}
"""Tokens per flat sequence beyond which a larger one is no faster."""
BYTES_PER_ACTIVATION = 40
"""Bytes kept for backward per token, layer and hidden unit: some 16 tensors of the hidden size, some wider."""


def tokens_per_pass(model: Any, longest_row: int, device: str) -> int:
    """Return how many tokens one forward and backward pass may have; SpecError when the longest row does not fit."""
    per_token = activation_bytes_per_token(model.config)
    fits = int(_free_bytes(device) * SHARE_TO_USE / per_token)
    if longest_row > fits:
        raise SpecError(
            f"A row of {longest_row} tokens needs about {longest_row * per_token / 2**30:.1f} GiB of memory, and "
            f"{_free_bytes(device) / 2**30:.1f} GiB are free. Set hyperparameters.max_length to {max(fits, 8)} or "
            f"less, or choose a smaller base model."
        )
    return max(longest_row, min(PREFERRED_TOKENS[device], fits))


def activation_bytes_per_token(config: Any) -> int:
    """Return the bytes that one token's activations and logits take in training."""
    config = config.get_text_config()
    body = config.num_hidden_layers * config.hidden_size * BYTES_PER_ACTIVATION
    return int(body + config.vocab_size * 8)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _free_bytes(device: str) -> int:
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    try:
        import psutil
    except ImportError:
        return 4 * 2**30
    return int(psutil.virtual_memory().available)
