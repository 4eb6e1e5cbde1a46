"""Build the untrained model, with a copying circuit already wired into its first two layers.

A small model finds the copying circuit ("induction heads") late, if at all, in a few million tokens.
Two heads of layer 0 therefore start as previous-token heads: their query and key biases, turned by the
rotary embedding, prefer the position one back, and they carry half of that token's embedding, rotated
into a subspace of its own. Two heads of layer 1 start as match-and-copy heads: they compare the present
token with those carried embeddings and add what stood there to the prediction. Everything remains an
ordinary LlamaForCausalLM, and every weight is trained afterwards.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from .tokenizer import CONTEXT, END_ID, PAD_ID, START_ID, VOCABULARY

ROPE_THETA = 10000.0
SHARPNESS = 9.0
QUIET = 0.05
CARRIED = 0.7
MATCHED = 2.0
CIRCUIT_HEADS = 2


def configuration(layers: int = 4, hidden: int = 128, heads: int = 4) -> LlamaConfig:
    """Return the model's shape: about one million parameters by default."""
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=CONTEXT,
        attention_bias=True,
        tie_word_embeddings=True,
        pad_token_id=PAD_ID,
        bos_token_id=START_ID,
        eos_token_id=END_ID,
    )


def build(seed: int, config: LlamaConfig | None = None) -> LlamaForCausalLM:
    """Return a seeded model with the copying circuit in place."""
    torch.manual_seed(seed)
    config = config or configuration()
    model = LlamaForCausalLM(config)
    hidden = config.hidden_size
    with torch.no_grad():
        model.model.embed_tokens.weight.normal_(0, 1 / math.sqrt(hidden))
        rotation, basis = _orthogonal(hidden), _orthogonal(hidden)
        for head in range(CIRCUIT_HEADS):
            _wire_previous(model.model.layers[0].self_attn, head, rotation, basis)
            _wire_match(model.model.layers[1].self_attn, head, rotation, basis)
    return model


def _orthogonal(size: int) -> Tensor:
    """Return a random orthogonal matrix."""
    return torch.linalg.qr(torch.randn(size, size))[0]


def _wire_previous(attention: torch.nn.Module, head: int, rotation: Tensor, basis: Tensor) -> None:
    """Make a head look one position back and carry its share of that token's embedding."""
    width = attention.head_dim
    rows = slice(head * width, (head + 1) * width)
    query, key = _one_back(width)
    attention.q_proj.weight[rows] *= QUIET
    attention.k_proj.weight[rows] *= QUIET
    attention.q_proj.bias[rows] = query
    attention.k_proj.bias[rows] = key
    part = basis[:, rows]
    attention.v_proj.weight[rows] = part.T
    attention.o_proj.weight[:, rows] = CARRIED * (rotation @ part)


def _one_back(width: int) -> tuple[Tensor, Tensor]:
    """Return query and key biases whose product, after the rotary embedding, peaks one position back."""
    half = width // 2
    angles = ROPE_THETA ** (-torch.arange(0, width, 2).float() / width)
    # Only the fast half of the frequencies tells neighbours apart; the slow half would blur the peak.
    used = (torch.arange(half) < half // 2).float()
    gap = (2 * used**2 * (1 - angles.cos())).sum() / math.sqrt(width)
    query = torch.cat([used, used]) * torch.sqrt(SHARPNESS / gap)
    turned = torch.cat([-query[half:], query[:half]])
    return query, query * torch.cat([angles.cos()] * 2) + turned * torch.cat([angles.sin()] * 2)


def _wire_match(attention: torch.nn.Module, head: int, rotation: Tensor, basis: Tensor) -> None:
    """Make a head look where the present token was last followed by something, and copy that."""
    width = attention.head_dim
    start = head * width
    # The slowly turning dimensions compare contents at any distance.
    quarter = torch.arange(width // 4, width // 2)
    slow = start + torch.cat([quarter, quarter + width // 2])
    carried = basis[:, start : start + len(slow)]
    rows = slice(start, start + width)
    attention.q_proj.weight[rows] *= QUIET
    attention.k_proj.weight[rows] *= QUIET
    attention.q_proj.weight[slow] = MATCHED * carried.T
    attention.k_proj.weight[slow] = MATCHED * (rotation @ carried).T
    copied = basis[:, rows]
    attention.v_proj.weight[rows] = copied.T
    attention.o_proj.weight[:, rows] = CARRIED * copied
