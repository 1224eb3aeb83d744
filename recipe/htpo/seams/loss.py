# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The actor loss that `set_loss_fn` installs on the workers.

verl's `ppo_loss` hands a registered policy loss neither entropy nor any extra field (verl/workers/utils/
losses.py:83-112). `htpo_loss` reads the groups that the trainer decided for the whole training batch, and then lets
`ppo_loss` compose the whole (global batch info, entropy bonus, KL term) around the registered token objective, which
finds the groups in `_current`. A run in which the seam is missing finds nothing there and fails instead of training
plain PPO.

Where `policy_loss.loss_mode` names one of verl's own losses the table has no part in it: `htpo_loss` is then
`ppo_loss`, and there are no group sums.
"""

from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict
from verl.trainer.ppo.core_algos import agg_loss, kl_penalty, register_policy_loss
from verl.utils.metric import AggregationType, Metric
from verl.workers.config import ActorConfig

# The module: it may be half imported, when its own import is what brought this one here.
from verl.workers.utils import losses as verl_losses
from verl.workers.utils.padding import no_padding_2_padding

from recipe.htpo.objective import ObjectiveConfig, TokenGroups, group_sums, partition, token_loss
from recipe.htpo.objective.config import GROUP_IDS
from recipe.htpo.seams.tokens import DUMP_FIELD, PartWriter

# Jagged int8 field that the trainer writes for the loss: the code of every response token (`TokenGroups`). Where the
# current policy's entropy splits the tokens, the group of the low-entropy cell stands for difficulty and correctness.
GROUPS_FIELD = "htpo_groups"

# Sums travel under this prefix; the trainer turns them into `htpo/...` metrics after the reduction over micro-batches,
# ranks and mini-batches. verl reduces a name with "max" or "min" in it differently, so neither may occur.
SUMS_PREFIX = "htpo_sums/"

LOSS_MODE = "htpo"


@dataclass
class _Current:
    """What the token objective needs of the micro-batch in hand, and the sums it hands back."""

    objective: ObjectiveConfig
    groups: TokenGroups
    entropy: torch.Tensor | None
    """Only where it splits the tokens here."""
    writer: PartWriter | None = None
    """Only where the token dump asks for rows of it."""
    sums: dict[str, float] = field(default_factory=dict)


_current: ContextVar[_Current | None] = ContextVar("htpo_current_micro_batch", default=None)


def htpo_loss(
    config: ActorConfig,
    objective: ObjectiveConfig,
    model_output: dict[str, torch.Tensor],
    data: TensorDict,
    dp_group: Any = None,
    dump_to: Path | None = None,
) -> tuple[torch.Tensor, dict[str, Any]]:
    """The actor loss of one micro-batch: groups, token objective by group, verl's composition around it.

    Args:
        config: verl's actor configuration.
        objective: the table of objectives.
        model_output: jagged `log_probs` and, where computed, `entropy` over prompt and response.
        data: jagged `response_mask`, `old_log_probs`, `advantages` and `htpo_groups`.
        dp_group: data-parallel group; unused, part of verl's signature.
        dump_to: directory of the run, where the tokens of rows marked in `htpo_dump` are to be written.

    Returns:
        0-dim loss and metrics; group sums are `Metric`s with SUM aggregation under `htpo_sums/`.
    """
    if config.entropy_coeff == 0:
        # ppo_loss would multiply it by zero, which keeps its graph alive and turns one NaN into a NaN loss.
        verl_output = {name: value for name, value in model_output.items() if name != "entropy"}
    else:
        verl_output = model_output
    if config.policy_loss.loss_mode != LOSS_MODE:
        return verl_losses.ppo_loss(config, verl_output, data, dp_group)
    if GROUPS_FIELD not in data:
        raise KeyError(f"{GROUPS_FIELD} is not in the batch: train with trainer.v1.trainer_mode=htpo_sync")
    # A jagged tensor whose longest row is not on record comes out wider than `ppo_loss` will have it.
    width = data["response_mask"].to_padded_tensor(0).shape[1]
    groups = TokenGroups(data[GROUPS_FIELD].to_padded_tensor(0)[:, :width])
    if objective.entropy_source == "old":
        current = _Current(objective, groups, None)
    else:
        entropy = _current_entropy(model_output, data, width)
        quadrant = groups.group.amax(-1)
        hard, correct = quadrant < 5, (quadrant == 1) | (quadrant == 5)
        current = _Current(objective, partition(entropy, groups.code, hard, correct, objective), entropy)
    if dump_to is not None and DUMP_FIELD in data:
        current.writer = PartWriter(dump_to, data, current.entropy)
    token = _current.set(current)
    try:
        loss, metrics = verl_losses.ppo_loss(config, verl_output, data, dp_group)
    finally:
        _current.reset(token)
    if config.use_kl_loss and any(objective.cells[group_id].kl_scale != 1 for group_id in GROUP_IDS):
        loss = loss + _kl_difference(config, objective, current.groups, model_output, data)
    metrics |= {
        SUMS_PREFIX + name: Metric(value=value, aggregation=AggregationType.SUM) for name, value in current.sums.items()
    }
    return loss, metrics


def _kl_difference(
    config: ActorConfig,
    objective: ObjectiveConfig,
    groups: TokenGroups,
    model_output: dict[str, torch.Tensor],
    data: TensorDict,
) -> torch.Tensor:
    """What `kl_scale` makes of verl's KL term, which has the same coefficient for every token; 0-dim.

    `ppo_loss` has set `config.global_batch_info`; `actor/kl_loss` stays the mean over all tokens.
    """
    fields = data.select("response_mask", "ref_log_prob").to_padded_tensor()
    mask = fields["response_mask"].to(bool)
    log_prob = no_padding_2_padding(model_output["log_probs"], data)
    kl = kl_penalty(log_prob, fields["ref_log_prob"], config.kl_loss_type)  # type: ignore[arg-type]
    scale = torch.tensor([1.0, *(objective.cells[group_id].kl_scale for group_id in GROUP_IDS)], device=kl.device)
    difference = kl * (scale[groups.group.long()] - 1)
    return config.kl_loss_coef * agg_loss(difference, mask, config.loss_agg_mode, **config.global_batch_info)


def _current_entropy(model_output: dict[str, torch.Tensor], data: TensorDict, width: int) -> torch.Tensor:
    """Detached fp32 token entropy `[B, T]` of the current policy."""
    if "entropy" not in model_output:
        raise KeyError("objective.entropy_source=current needs actor_rollout_ref.actor.calculate_entropy=True")
    return no_padding_2_padding(model_output["entropy"], data)[:, :width].detach().float()


@register_policy_loss(LOSS_MODE)  # type: ignore[arg-type]
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
    if current.writer is not None:
        current.writer.write(output, log_prob, old_log_prob, advantages)
    current.sums = group_sums(output, _row_weight(loss_agg_mode, response_mask), current.entropy)
    return loss, {}


def _row_weight(loss_agg_mode: str, response_mask: torch.Tensor) -> torch.Tensor | None:
    """Weight `[B, 1]` of a response's tokens in verl's `agg_loss`, up to a constant; None where all weigh the same."""
    if loss_agg_mode != "seq-mean-token-mean":
        return None
    return 1 / (response_mask.sum(-1, keepdim=True) + 1e-8)
