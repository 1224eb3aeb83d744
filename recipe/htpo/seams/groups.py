# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The split of a training batch's tokens into groups, as the one jagged field that the loss reads."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from recipe.htpo.objective import ObjectiveConfig, TokenGroups, entropy_sums, metrics_from_sums, partition_jagged
from recipe.htpo.objective.config import GROUP_IDS


def split_tokens(
    data: Mapping[str, Any], hard: Tensor, correct: Tensor, objective: ObjectiveConfig
) -> tuple[Tensor, dict[str, float]]:
    """The field `htpo_groups` of a batch, and the entropy metrics of its groups.

    Args:
        data: jagged `response_mask` and, where it splits the tokens, the old policy's `entropy`.
        hard: `[B]` bool.
        correct: `[B]` bool.
        objective: the table of objectives.

    Raises:
        KeyError: the old policy's entropy is to split the tokens and is not there.
    """
    mask, offsets = data["response_mask"].values(), data["response_mask"].offsets()
    lengths = offsets.diff()
    if objective.entropy_source == "current":
        low = (1 + 4 * (~hard).long() + 2 * (~correct).long()).repeat_interleave(lengths)
        off = torch.zeros_like(mask, dtype=torch.bool)
        return _jagged(TokenGroups.of(low * (mask > 0), off, off).code, offsets), {}
    if "entropy" not in data:
        raise KeyError(
            "objective.entropy_source=old needs the old policy's entropy, which verl only computes with "
            "algorithm.rollout_correction.bypass_mode=False"
        )
    entropy = data["entropy"].values().float()
    groups = partition_jagged(entropy, mask, lengths, hard, correct, objective)
    counts = torch.bincount(groups.group, minlength=16).tolist()
    sums = {f"tokens/{group_id}": float(counts[group_id]) for group_id in GROUP_IDS}
    return _jagged(groups.code, offsets), metrics_from_sums(sums | entropy_sums(groups.code, entropy))


def _jagged(values: Tensor, offsets: Tensor) -> Tensor:
    lengths = offsets.diff()
    return torch.nested.nested_tensor_from_jagged(
        values, offsets, min_seqlen=int(lengths.min()), max_seqlen=int(lengths.max())
    )
