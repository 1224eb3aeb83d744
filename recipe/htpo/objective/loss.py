# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What: the loss of every token, chosen by its group's row in the objective table. No aggregation here."""

from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from recipe.htpo.objective.config import GROUP_IDS, ObjectiveConfig, Region
from recipe.htpo.objective.partition import TokenGroups
from recipe.htpo.objective.rules import TokenTerms, get_rule


@dataclass(frozen=True)
class TokenLossOutput:
    """Per-token loss and what happened to every token; one shape, `[B, T]` or `[T_total]`.

    All but `loss` are without gradient and False or 0 outside the response mask (`ratio`: 1).
    """

    loss: Tensor
    """Loss to be minimised; exactly 0 for detached tokens and outside the response mask."""
    log_ratio: Tensor
    """log_prob - old_log_prob, clamped to +-20."""
    ratio: Tensor
    """exp(log_ratio)."""
    replaced: Tensor
    """bool, the group's rule replaced the PPO term (and the token is not detached)."""
    replaced_above: Tensor
    """bool, replaced and ratio > 1 + clip_ratio_high."""
    replaced_below: Tensor
    """bool, replaced and ratio < 1 - clip_ratio_low."""
    detached: Tensor
    """bool, zero loss because of its entropy rank."""
    ppo_clip: Tensor
    """bool, the PPO clip is active by verl's formula, whatever rule the token has."""
    ppo_clip_lower: Tensor
    """bool, the dual clip is active by verl's formula, for tokens that keep their PPO term."""


def token_loss(
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    groups: TokenGroups,
    config: ObjectiveConfig,
    clip_ratio_low: float,
    clip_ratio_high: float,
    clip_ratio_c: float,
    rollout_is_weights: Tensor | None = None,
) -> TokenLossOutput:
    """Loss of every token by the table of `config`; aggregate it with verl's `agg_loss`.

    Element-wise, so `[B, T]` and packed `[T_total]` tensors give the same numbers. With every row `ppo` it equals
    verl 0.9.1's `vanilla` policy loss (`verl/trainer/ppo/core_algos.py`) to the last bit. Values outside the
    response mask are ignored, even NaN.

    Args:
        log_prob: current log-probability of the sampled tokens; carries the gradient.
        old_log_prob: the same at the start of the update.
        advantages: one value per token.
        response_mask: bool, integer or floating; > 0 marks valid tokens. It must not mark tokens outside the mask
            that `groups` was computed with; such tokens have group 0 and zero loss.
        groups: result of `partition` for the same tokens.
        config: objective.
        clip_ratio_low: lower clip width, in [0, 1).
        clip_ratio_high: upper clip width, at least 0.
        clip_ratio_c: dual-clip constant, above 1.
        rollout_is_weights: optional per-token factors of rollout correction.

    Raises:
        ValueError: on shapes that differ or clip parameters out of range.
    """
    _check_clip(clip_ratio_low, clip_ratio_high, clip_ratio_c)
    tensors = {
        "old_log_prob": old_log_prob,
        "advantages": advantages,
        "response_mask": response_mask,
        "groups.group": groups.group,
        "rollout_is_weights": rollout_is_weights,
    }
    for name, tensor in tensors.items():
        if tensor is not None and tensor.shape != log_prob.shape:
            raise ValueError(f"{name} must have the shape of log_prob {tuple(log_prob.shape)}, got {tensor.shape}")

    valid = (response_mask > 0) & (groups.group > 0)
    log_ratio = torch.where(valid, log_prob - old_log_prob, 0.0)
    clamped_log_ratio = torch.clamp(log_ratio, min=-20.0, max=20.0)
    ratio = torch.exp(clamped_log_ratio)

    # The operations and their order are those of verl's vanilla loss: the DAPO preset is equal bit for bit.
    unclipped = -advantages * ratio
    clipped = -advantages * torch.clamp(ratio, 1 - clip_ratio_low, 1 + clip_ratio_high)
    clip_loss = torch.maximum(unclipped, clipped)
    cap = -advantages * clip_ratio_c
    ppo_loss = torch.where(advantages < 0, torch.min(cap, clip_loss), clip_loss)

    terms = TokenTerms(
        log_ratio=log_ratio,
        ratio=ratio,
        advantages=advantages,
        ppo_loss=ppo_loss,
        above=ratio.detach() > 1 + clip_ratio_high,
        below=ratio.detach() < 1 - clip_ratio_low,
        clip_ratio_low=clip_ratio_low,
        clip_ratio_high=clip_ratio_high,
        clip_ratio_c=clip_ratio_c,
        clamp_reciprocal_ratio=config.clamp_reciprocal_ratio,
    )
    keep = valid & ~groups.detached
    loss, replaced = _apply_rules(terms, groups.group, config)
    if rollout_is_weights is not None:
        loss = loss * rollout_is_weights
    loss = torch.where(keep, loss, 0.0)

    replaced = replaced & keep
    return TokenLossOutput(
        loss=loss,
        log_ratio=clamped_log_ratio.detach(),
        ratio=ratio.detach(),
        replaced=replaced,
        replaced_above=replaced & terms.above,
        replaced_below=replaced & terms.below,
        detached=groups.detached & valid,
        ppo_clip=(clipped > unclipped) & valid,
        ppo_clip_lower=(clip_loss > cap) & (advantages < 0) & valid & ~replaced,
    )


def _apply_rules(terms: TokenTerms, group: Tensor, config: ObjectiveConfig) -> tuple[Tensor, Tensor]:
    """The PPO loss with the tokens of every other rule exchanged, and the mask of replaced PPO terms."""
    loss, replaced = terms.ppo_loss, torch.zeros_like(terms.above)
    members: dict[tuple[str, Region], list[Tensor]] = {}
    for group_id in GROUP_IDS:
        cell = config.cells[group_id]
        if cell.rule != "ppo":
            members.setdefault((cell.rule, cell.region), []).append(group == group_id)
    for (rule_name, region), masks in members.items():
        selected = reduce(torch.logical_or, masks)
        if region != "all":
            selected = selected & _region_mask(region, terms)
        result = get_rule(rule_name)(terms, selected)
        loss = torch.where(selected, result.loss, loss)
        replaced = replaced | (selected & result.replaced)
    return loss, replaced


def _region_mask(region: Region, terms: TokenTerms) -> Tensor:
    if region == "above":
        return terms.above
    if region == "below":
        return terms.below
    outside = terms.above | terms.below
    return outside if region == "outside" else ~outside


def _check_clip(clip_ratio_low: float, clip_ratio_high: float, clip_ratio_c: float) -> None:
    if not 0 <= clip_ratio_low < 1:
        raise ValueError(f"clip_ratio_low must be in [0, 1), got {clip_ratio_low}")
    if not clip_ratio_high >= 0:
        raise ValueError(f"clip_ratio_high must be at least 0, got {clip_ratio_high}")
    if not clip_ratio_c > 1:
        raise ValueError(f"clip_ratio_c, the dual-clip constant, must be above 1, got {clip_ratio_c}")
