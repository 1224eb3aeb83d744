# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Packed layout: responses laid end to end in `[T_total]`, bounded by `cu_seqlens` `[B + 1]`.

Only `partition` looks across the tokens of a response. `token_loss` and `group_sums` are element-wise and take
packed tensors as they are.
"""

import torch
from torch import Tensor

from recipe.htpo.objective.config import ObjectiveConfig
from recipe.htpo.objective.partition import TokenGroups, partition


def partition_packed(
    entropy: Tensor,
    response_mask: Tensor,
    cu_seqlens: Tensor,
    hard: Tensor,
    correct: Tensor,
    config: ObjectiveConfig,
) -> TokenGroups:
    """`partition` for packed tensors: the same groups, with every tensor of shape `[T_total]`.

    Args:
        entropy: `[T_total]` floating, token entropies in nats.
        response_mask: `[T_total]` bool, integer or floating; > 0 marks valid tokens.
        cu_seqlens: `[B + 1]` integer, 0 first and T_total last; row i has tokens cu_seqlens[i] to cu_seqlens[i + 1].
            Empty rows are legal.
        hard: `[B]` bool.
        correct: `[B]` bool.
        config: objective.

    Raises:
        ValueError: if `cu_seqlens` does not bound the tokens, and as `partition`.
    """
    row, column, width = _positions(cu_seqlens, entropy.shape[0])

    def pad(values: Tensor) -> Tensor:
        padded = values.new_zeros(hard.shape[0], width)
        padded[row, column] = values
        return padded

    groups = partition(pad(entropy), pad(response_mask), hard, correct, config)
    return TokenGroups(groups.group[row, column], groups.detach_low[row, column], groups.detach_high[row, column])


def _positions(cu_seqlens: Tensor, num_tokens: int) -> tuple[Tensor, Tensor, int]:
    """Row and column of every packed token in the padded layout, and the width of that layout (at least 1)."""
    lengths = cu_seqlens.diff()
    if int(cu_seqlens[0]) != 0 or int(cu_seqlens[-1]) != num_tokens or bool((lengths < 0).any()):
        raise ValueError(f"cu_seqlens must rise from 0 to the number of packed tokens {num_tokens}")
    rows = torch.arange(lengths.shape[0], device=cu_seqlens.device)
    row = torch.repeat_interleave(rows, lengths, output_size=num_tokens)
    column = torch.arange(num_tokens, device=cu_seqlens.device) - cu_seqlens[:-1][row]
    return row, column, max(int(lengths.max()), 1) if lengths.numel() else 1
