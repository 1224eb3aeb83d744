# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The actor loss that `set_loss_fn` installs on the workers.

verl's `ppo_loss` hands a registered policy loss neither entropy nor any extra field (verl/workers/utils/
losses.py:83-112). `htpo_loss` reads them first, splits the tokens into groups, and then lets `ppo_loss` compose the
whole (global batch info, entropy bonus, KL term) around the registered token objective, which finds the groups in
`_current`. A run in which the seam is missing finds nothing there and fails instead of training plain PPO.
"""

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from tensordict import TensorDict
from verl.trainer.ppo.core_algos import agg_loss, register_policy_loss
from verl.utils.metric import AggregationType, Metric
from verl.workers.config import ActorConfig
from verl.workers.utils.losses import ppo_loss
from verl.workers.utils.padding import no_padding_2_padding

from recipe.htpo.objective import ObjectiveConfig, TokenGroups, group_sums, partition, sums_to_floats, token_loss

# Per-response fields `[B]` that the trainer writes for the loss.
HARD_FIELD = "htpo_hard"
CORRECT_FIELD = "htpo_correct"

# Sums travel under this prefix; the trainer turns them into `htpo/...` metrics after the reduction over micro-batches,
# ranks and mini-batches. verl reduces a name with "max" or "min" in it differently, so neither may occur.
SUMS_PREFIX = "htpo_sums/"


@dataclass
class _Current:
    """What the token objective needs of the micro-batch in hand, and the sums it hands back."""

    objective: ObjectiveConfig
    groups: TokenGroups
    entropy: torch.Tensor
    sums: dict[str, float] = field(default_factory=dict)


_current: ContextVar[_Current | None] = ContextVar("htpo_current_micro_batch", default=None)


def htpo_loss(
    config: ActorConfig,
    objective: ObjectiveConfig,
    model_output: dict[str, torch.Tensor],
    data: TensorDict,
    dp_group: Any = None,
) -> tuple[torch.Tensor, dict[str, Any]]:
    """The actor loss of one micro-batch: groups, token objective by group, verl's composition around it.

    Args:
        config: verl's actor configuration; `policy_loss.loss_mode` is `htpo`.
        objective: the table of objectives.
        model_output: jagged `log_probs` and, where computed, `entropy` over prompt and response.
        data: jagged `response_mask`, `old_log_probs`, `advantages`, `entropy` (old policy) and the `[B]` fields
            `htpo_hard` and `htpo_correct`.
        dp_group: data-parallel group; unused, part of verl's signature.

    Returns:
        0-dim loss and metrics; group sums are `Metric`s with SUM aggregation under `htpo_sums/`.
    """
    missing = [name for name in (HARD_FIELD, CORRECT_FIELD) if name not in data]
    if missing:
        raise KeyError(f"{', '.join(missing)} not in the batch: train with trainer.v1.trainer_mode=htpo_sync")
    response_mask = data["response_mask"].to_padded_tensor(0).bool()
    entropy = _group_entropy(objective, model_output, data, response_mask.shape[1])
    hard, correct = data[HARD_FIELD].bool(), data[CORRECT_FIELD].bool()
    current = _Current(
        objective=objective,
        groups=partition(entropy, response_mask, hard, correct, objective),
        entropy=entropy,
    )
    if config.entropy_coeff == 0:
        # ppo_loss would multiply it by zero, which keeps its graph alive and turns one NaN into a NaN loss.
        model_output = {name: value for name, value in model_output.items() if name != "entropy"}
    token = _current.set(current)
    try:
        loss, metrics = ppo_loss(config, model_output, data, dp_group)
    finally:
        _current.reset(token)
    metrics |= {
        SUMS_PREFIX + name: Metric(value=value, aggregation=AggregationType.SUM) for name, value in current.sums.items()
    }
    return loss, metrics


def _group_entropy(
    objective: ObjectiveConfig, model_output: dict[str, torch.Tensor], data: TensorDict, width: int
) -> torch.Tensor:
    """Detached fp32 token entropy `[B, T]` of the old or of the current policy."""
    if objective.entropy_source == "old":
        if "entropy" not in data:
            raise KeyError(
                "objective.entropy_source=old needs the old policy's entropy, which verl only computes with "
                "algorithm.rollout_correction.bypass_mode=False"
            )
        return data["entropy"].to_padded_tensor(0.0).detach().float()
    if "entropy" not in model_output:
        raise KeyError("objective.entropy_source=current needs actor_rollout_ref.actor.calculate_entropy=True")
    return no_padding_2_padding(model_output["entropy"], data)[:, :width].detach().float()


@register_policy_loss("htpo")  # type: ignore[arg-type]
def token_objective_loss(
    old_log_prob: torch.Tensor,
    log_prob: torch.Tensor,
    advantages: torch.Tensor,
    response_mask: torch.Tensor,
    loss_agg_mode: str = "token-mean",
    config: ActorConfig | None = None,
    rollout_is_weights: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, dict[str, Any]]:
    """The policy loss registered as `htpo`: `[B, T]` token objectives, aggregated by verl's `agg_loss`.

    Raises:
        RuntimeError: called without `htpo_loss` around it, so that groups are unknown.
    """
    current = _current.get()
    if current is None or config is None:
        raise RuntimeError(
            "policy_loss.loss_mode=htpo was reached without the HTPO loss installed on the worker; train with "
            "`python -m recipe.htpo.main_htpo`, whose trainer (trainer.v1.trainer_mode=htpo_sync) installs it"
        )
    output = token_loss(
        log_prob=log_prob,
        old_log_prob=old_log_prob,
        advantages=advantages,
        response_mask=response_mask,
        groups=current.groups,
        config=current.objective,
        clip_ratio_low=config.clip_ratio_low if config.clip_ratio_low is not None else config.clip_ratio,
        clip_ratio_high=config.clip_ratio_high if config.clip_ratio_high is not None else config.clip_ratio,
        clip_ratio_c=config.clip_ratio_c,
        rollout_is_weights=rollout_is_weights,
    )
    loss = agg_loss(
        loss_mat=output.loss, loss_mask=response_mask, loss_agg_mode=loss_agg_mode, **config.global_batch_info
    )
    if log_prob.requires_grad:
        (gradient,) = torch.autograd.grad(output.loss.sum(), log_prob, retain_graph=True)
    else:
        gradient = torch.zeros_like(log_prob)
    current.sums = sums_to_floats(
        group_sums(current.groups, output, advantages, response_mask, current.entropy, gradient=gradient)
    )
    return loss, {}
