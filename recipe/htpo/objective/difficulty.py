# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Prompt difficulty: the pass rate of a prompt's responses against a threshold."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Difficulty(NamedTuple):
    """Pass rate and size of every prompt group, and the verdict for every response."""

    pass_rate: Tensor
    """`[P]` float64; 0 for a prompt without counted responses."""
    num_responses: Tensor
    """`[P]` int64, counted responses."""
    hard: Tensor
    """`[B]` bool; False for responses that are not counted."""


def binarise_acc(acc: Tensor | Sequence[float]) -> Tensor:
    """Correctness `[B]` bool from a verifier's accuracy: acc > 0.5, whether it scores 0/1, -1/1 or fractions.

    Raises:
        ValueError: if a value is NaN.
    """
    acc = torch.as_tensor(acc)
    if acc.is_floating_point() and bool(acc.isnan().any()):
        raise ValueError(
            f"acc is NaN in {int(acc.isnan().sum())} of {acc.numel()} responses; the verifier must return a number"
        )
    return acc > 0.5


def difficulty(
    correct: Tensor, prompt_index: Tensor, valid: Tensor, threshold: float, num_prompts: int | None = None
) -> Difficulty:
    """Mark the responses of hard prompts: pass rate strictly below `threshold`, compared in float64.

    Statistics have the scope of a prompt over the rows given, so pass a whole training batch.

    Args:
        correct: `[B]` bool, verified answers (`binarise_acc`).
        prompt_index: `[B]` int64 in 0..P-1.
        valid: `[B]` bool; False for rows that are not counted, such as padding rows.
        threshold: difficulty threshold in [0, 1].
        num_prompts: P; by default the largest index plus one.

    Raises:
        ValueError: on shapes or dtypes other than those above.
    """
    for name, value, dtype in (
        ("correct", correct, torch.bool),
        ("prompt_index", prompt_index, torch.int64),
        ("valid", valid, torch.bool),
    ):
        if value.dim() != 1 or value.shape != correct.shape or value.dtype != dtype:
            raise ValueError(
                f"{name} must have shape {tuple(correct.shape[:1])} and dtype {dtype}, "
                f"got {tuple(value.shape)} and {value.dtype}"
            )
    if num_prompts is None:
        num_prompts = int(prompt_index.max()) + 1 if prompt_index.numel() else 0
    count = torch.zeros(num_prompts, dtype=torch.int64, device=correct.device)
    count.index_add_(0, prompt_index, valid.long())
    solved = torch.zeros_like(count).index_add_(0, prompt_index, (valid & correct).long())
    pass_rate = solved.double() / count.clamp(min=1).double()
    return Difficulty(pass_rate, count, valid & (pass_rate < threshold)[prompt_index])
