"""What every side trains: a Llama of a given size with random weights, and chat rows of 30-600 tokens."""

import random
import resource
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

RANK, ALPHA, BATCH_ROWS, LEARNING_RATE = 16, 32, 8, 1e-4
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SHAPES: dict[str, dict[str, int]] = {
    "5m": {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6, "num_attention_heads": 4,
           "num_key_value_heads": 4, "vocab_size": 4096},
    "110m": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12,
             "num_key_value_heads": 12, "vocab_size": 32000},
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
           "num_key_value_heads": 8, "vocab_size": 128256},
}  # fmt: skip
"""1b is for GPUs."""


class ChatRow(NamedTuple):
    """A row of random tokens whose end is an answer."""

    token_ids: list[int]
    prompt_tokens: int


@dataclass(frozen=True)
class Speed:
    """What one side reached; the first two steps do not count."""

    tokens: int
    """Tokens of the rows, without any padding."""
    wall_seconds: float
    cpu_seconds: float
    first_loss: float
    peak_mib: float


def rows(count: int, vocabulary: int, *, seed: int = 0, system_tokens: int = 0) -> list[ChatRow]:
    """Return rows with log-normal lengths (median 148, mean about 180) and 25-65 % of answer.

    The first `system_tokens` are the same in every row that is longer, as a system prompt is.
    """
    draw = random.Random(seed)
    system = [draw.randrange(3, vocabulary) for _ in range(system_tokens)]
    found = []
    for _ in range(count):
        length = int(min(600, max(30, draw.lognormvariate(5.0, 0.65))))
        ids = [draw.randrange(3, vocabulary) for _ in range(length)]
        prompt = int(length * draw.uniform(0.35, 0.75))
        found.append(ChatRow(system + ids, system_tokens + prompt))
    return found


def model(size: str) -> Any:
    """Return the model with weights drawn from a fixed seed."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return LlamaForCausalLM(
        LlamaConfig(**SHAPES[size], max_position_embeddings=2048, tie_word_embeddings=True, **special)
    )


def useful_flops_per_token(size: str, trained_share: float) -> float:
    """Return the floating-point operations that LoRA needs per token at least.

    Forward and the gradient of the activations through every matrix, 4 per weight; the head at trained places only;
    attention scores and the adapter itself are left out.
    """
    shape = SHAPES[size]
    hidden, inner, layers = shape["hidden_size"], shape["intermediate_size"], shape["num_hidden_layers"]
    grouped = hidden * shape["num_key_value_heads"] // shape["num_attention_heads"]
    body = layers * (2 * hidden * hidden + 2 * hidden * grouped + 3 * hidden * inner)
    return 4.0 * (body + hidden * shape["vocab_size"] * trained_share)


def peak_mib(device: str) -> float:
    """Return the most memory this process has held: the GPU's on a GPU, resident memory on a CPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
