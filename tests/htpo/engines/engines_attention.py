# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""verl's Ulysses attention without the flash-attn kernel, which needs a GPU: the kernel alone is replaced."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface
from verl.models.transformers import monkey_patch

ULYSSES_ATTENTION = "ulysses_sdpa"


def packed_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: None,
    query_length: int,
    *,
    position_ids: Tensor,
    **_: Any,
) -> Tensor:
    """Causal attention within each sequence of a packed row, `[1, T, heads, D]`; a sequence begins at position 0."""
    sequence = (position_ids[0] == 0).cumsum(0)
    allowed = (sequence[:, None] == sequence[None, :]).tril()
    query, key, value = (states.transpose(1, 2) for states in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, allowed, enable_gqa=True).transpose(1, 2)


def ulysses_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: None,
    *,
    position_ids: Tensor,
    **_: Any,
) -> tuple[Tensor, None]:
    """As transformers calls an attention, `[1, heads, T / ranks, D]`, through verl's exchange of heads and tokens."""
    states = (states.transpose(1, 2).contiguous() for states in (query, key, value))
    output = monkey_patch._ulysses_flash_attention_forward(*states, mask, query.size(2), position_ids=position_ids)
    return output, None


monkey_patch._flash_attention_forward = packed_attention
AttentionInterface.register(ULYSSES_ATTENTION, ulysses_attention)
