# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Batches for the objective's tests, and the two calls most of them make."""

import torch
from hypothesis import strategies as st
from objective_reference import random_inputs
from torch import Tensor

from recipe.htpo.objective import ObjectiveConfig, TokenGroups, TokenLossOutput, partition, token_loss

CLIP = (0.2, 0.28, 10.0)


def random_batch(seed: int, rows: int = 12, width: int = 20, max_delta: float = 2.0) -> dict[str, Tensor]:
    """float64 tensors named as in the golden files; about a third of the entropies are tied when `seed` is odd."""
    inputs = random_inputs(seed, rows, width, max_delta, entropy_step=0.25 if seed % 2 else 0.0)
    return {name: torch.from_numpy(value) for name, value in inputs.items()}


def batches() -> st.SearchStrategy[dict[str, Tensor]]:
    """Batches of 1..10 rows and 1..24 columns."""
    return st.builds(random_batch, st.integers(0, 10_000), st.integers(1, 10), st.integers(1, 24))


def split_of(batch: dict[str, Tensor], config: ObjectiveConfig) -> TokenGroups:
    return partition(batch["ent"], batch["mask"], batch["hard"], batch["correct"], config)


def loss_of(
    batch: dict[str, Tensor], config: ObjectiveConfig, clip: tuple[float, float, float] = CLIP
) -> tuple[TokenGroups, TokenLossOutput, Tensor]:
    """Groups, per-token output and the gradient of the summed loss by log_prob."""
    groups = split_of(batch, config)
    log_prob = batch["logp"].clone().requires_grad_()
    tensors = (log_prob, batch["old"], batch["adv"], batch["mask"])
    output = token_loss(*tensors, groups, config, *clip, batch.get("is_w"))
    (gradient,) = torch.autograd.grad(output.loss.sum(), log_prob)
    return groups, output, gradient


def one_token(group: int, ratio: float, adv: float, config: ObjectiveConfig, **marks: bool) -> tuple[float, float]:
    """Loss and gradient of a single token of a given group."""
    log_prob = torch.tensor([ratio], dtype=torch.float64).log().requires_grad_()
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    groups = TokenGroups.of(
        torch.tensor([group], dtype=torch.int8),
        torch.tensor([marks.get("detach_low", False)]),
        torch.tensor([marks.get("detach_high", False)]),
    )
    output = token_loss(log_prob, zero, adv * one, one, groups, config, *CLIP)
    (gradient,) = torch.autograd.grad(output.loss.sum(), log_prob)
    return output.loss.item(), gradient.item()
