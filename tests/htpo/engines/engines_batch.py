# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""One mini-batch of sixteen responses in which HTPO differs from PPO, and its form at the trainer's worker."""

from typing import Any

import torch
from torch import Tensor

VOCABULARY = 256
CLIP = dict(clip_ratio_low=0.2, clip_ratio_high=0.28, clip_ratio_c=10.0)

# log(0.8) = -0.22 and log(1.28) = 0.25 bound the clip range and log(10) = 2.3 the dual clip. Every value is far from
# them, so that rounding cannot move a token from one region into another.
LOG_RATIOS = (-0.6, -0.35, -0.1, 0.0, 0.1, 0.4, 0.6, 2.6)

# Response lengths: among them one token, and one token that is masked (verl's padding row).
LENGTHS = (40, 1, 23, 1, 31, 17, 38, 25, 12, 40, 29, 9, 35, 21, 33, 27)
PADDING_ROW = 3

# Prompt of every response, for scores: 0 and 1 are mixed and spread over both halves of the batch, 2 is all right, 3 is
# all wrong, and the padding row is counted by none.
PROMPTS = (0, 0, 1, -1, 2, 3, 2, 0, 1, 0, 2, 3, 1, 1, 2, 3)

# Changes to a preset that let every kind of mark occur in responses this short.
OBJECTIVE = {
    "cells": {
        "hard_correct_low": {"detach_lowest": 0.3},
        "easy_correct_high": {"detach_highest": 0.4},
        "easy_wrong_low": {"detach_lowest": 0.2, "detach_mode": "rank"},
    }
}

Batch = dict[str, list[Tensor]]
"""Per field one tensor per response, of its own length; scalars for fields of the whole response."""


def make_batch() -> Batch:
    """Tokens, verdicts and advantages; `old_log_probs` and `entropy` come from a model (`with_old_policy`)."""
    random = torch.Generator().manual_seed(7)
    rows = range(len(LENGTHS))
    prompts = [torch.randint(VOCABULARY, (1 + (5 * row) % 9,), generator=random) for row in rows]
    responses = [torch.randint(VOCABULARY, (length,), generator=random) for length in LENGTHS]
    masks = [torch.ones(length, dtype=torch.int64) for length in LENGTHS]
    masks[PADDING_ROW].zero_()
    masks[4][10:14] = 0  # an observation in the middle, as of a tool
    input_ids = [torch.cat([prompt, response]) for prompt, response in zip(prompts, responses, strict=True)]
    correct = [row % 2 == 0 for row in rows]
    size = [0.3 + torch.rand((), generator=random).item() for _ in rows]
    return {
        "prompts": prompts,
        "responses": responses,
        "input_ids": input_ids,
        "position_ids": [torch.arange(len(ids)) for ids in input_ids],
        "response_mask": masks,
        "loss_mask": masks,
        "advantages": [torch.full((LENGTHS[row],), size[row] if correct[row] else -size[row]) for row in rows],
        "hard": [torch.tensor(row % 4 < 2) for row in rows],
        "correct": [torch.tensor(value) for value in correct],
        "row": [torch.tensor(row) for row in rows],
        "prompt": [torch.tensor(PROMPTS[row]) for row in rows],
    }


def with_old_policy(batch: Batch, log_probs: list[Tensor], entropy: list[Tensor]) -> Batch:
    """The batch as the update gets it: an old policy near the model, shifted so that ratios fall on all sides.

    Its entropy differs from the model's, so that the groups show which of the two was used.
    """
    random = torch.Generator().manual_seed(8)
    shifts = [
        torch.tensor(LOG_RATIOS)[torch.randint(len(LOG_RATIOS), row.shape, generator=random)] for row in log_probs
    ]
    old = [row - shift for row, shift in zip(log_probs, shifts, strict=True)]
    old_entropy = [row + 0.2 * torch.randn(row.shape, generator=random) for row in entropy]
    return batch | {"old_log_probs": old, "entropy": old_entropy}


def rows_of(batch: Batch, rank: int, ranks: int) -> Batch:
    """The contiguous share of a data-parallel rank."""
    size = len(batch["row"]) // ranks
    return {name: values[rank * size : (rank + 1) * size] for name, values in batch.items()}


def padded(rows: list[Tensor], value: Any = 0) -> Tensor:
    """`[B, T]`, padded at the right."""
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)
