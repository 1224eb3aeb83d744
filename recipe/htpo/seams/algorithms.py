# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The advantage estimator that a verl configuration can name: `algorithm.adv_estimator=htpo`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage, register_adv_est


@register_adv_est("htpo")
def htpo_advantage(
    token_level_rewards: torch.Tensor,
    response_mask: torch.Tensor,
    index: np.ndarray,
    config: Mapping[str, Any] | None = None,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """GRPO's group-normalised outcome advantage: HTPO takes the advantage over unchanged and differs in the loss.

    The HTPO trainers run it under verl's own name `grpo`, the only one for which verl compares the final outputs of
    agent-loop sessions with several outputs (verl/trainer/ppo/v1/utils.py, compute_advantage_for_multi_trajectories).

    Args:
        token_level_rewards: `[B, T]` fp32; the reward stands on the last valid token.
        response_mask: `[B, T]`.
        index: `[B]` prompt uid of every response.
        config: `algorithm` node; `norm_adv_by_std_in_grpo` is honoured.

    Returns:
        advantages and returns, both `[B, T]` fp32.
    """
    norm_by_std = True if config is None else bool(config.get("norm_adv_by_std_in_grpo", True))
    return compute_grpo_outcome_advantage(
        token_level_rewards, response_mask, index, norm_adv_by_std_in_grpo=norm_by_std, config=config
    )
