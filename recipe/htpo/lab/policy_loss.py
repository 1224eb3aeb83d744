# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The loss of a lab run's update: the table or one of verl's losses, averaged as the preset's settings say."""

from collections.abc import Mapping
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor
from verl.trainer.ppo.core_algos import agg_loss, get_policy_loss_fn, kl_penalty
from verl.workers.config import FSDPActorConfig, PolicyLossConfig

from recipe.htpo.lab.regime import Regime
from recipe.htpo.objective import ObjectiveConfig, TokenGroups, TokenLossOutput, preset_settings, token_loss
from recipe.htpo.objective.config import GROUP_IDS
from recipe.htpo.objective.metrics import FALLEN_RATIO

MARKS = ("replaced", "detached", "detached_group_1", "clipped", "destroyed")
COUNTS = (*MARKS, *(f"group{group_id}" for group_id in GROUP_IDS))
CLIP = ("clip_ratio_low", "clip_ratio_high", "clip_ratio_c")


def settings_of(preset: str, max_response_tokens: int) -> dict[str, Any]:
    """The fields of verl's actor that a preset sets, and `norm_adv_by_std_in_grpo`; resolved.

    Dynamic sampling is not among them: every batch of the lab has prompts with right and wrong responses alone.
    """
    node = OmegaConf.create({"data": {"max_response_length": max_response_tokens}, **preset_settings(preset)})
    values: Any = OmegaConf.to_container(node, resolve=True)
    algorithm = {name: value for name, value in values.get("algorithm", {}).items() if name != "filter_groups"}
    return values.get("actor_rollout_ref", {}).get("actor", {}) | algorithm


class PolicyLoss:
    """`settings` as `settings_of` gives them, without clip widths: those are the regime's."""

    def __init__(self, objective: ObjectiveConfig, regime: Regime, settings: Mapping[str, Any]):
        values = dict(settings)
        self.norm_by_std = values.pop("norm_adv_by_std_in_grpo", True)
        self.actor = FSDPActorConfig(
            strategy="fsdp2",
            rollout_n=regime.responses,
            ppo_micro_batch_size_per_gpu=1,
            policy_loss=PolicyLossConfig(**({"loss_mode": "htpo"} | values.pop("policy_loss", {}))),
            **{name: getattr(regime, name) for name in CLIP},
            **values,
        )
        self.actor.global_batch_info["loss_scale_factor"] = self.actor.loss_scale_factor
        self.objective = objective
        self.kl_scale = torch.tensor([0.0, *(objective.cells[group_id].kl_scale for group_id in GROUP_IDS)])

    def __call__(
        self, log_probs: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, codes: Tensor, reference: Tensor | None
    ) -> tuple[Tensor, Tensor, TokenLossOutput | None]:
        """0-dim loss of an update, the counts of its tokens named in `COUNTS`, and the table's output if it is used.

        Args:
            log_probs: `[N]` of the valid tokens, row after row; carries the gradient.
            old, advantages, mask, codes, reference: `[B, T]`; `reference` where there is a KL term.
        """
        padded = torch.zeros(mask.shape).masked_scatter(mask, log_probs)
        mode = self.actor.policy_loss.loss_mode
        if mode == "htpo":
            loss, counts, output = self._table(log_probs, old, advantages, mask, codes)
        else:
            output = None
            loss, metrics = get_policy_loss_fn(mode)(
                old, padded, advantages, mask, self.actor.loss_agg_mode, self.actor, None
            )
            clipped = metrics.get("actor/pg_clipfrac", 0.0) * mask.sum()
            counts = torch.stack([torch.as_tensor(clipped if name == "clipped" else 0.0) for name in MARKS])
        members = torch.bincount((codes[mask] & 15).long(), minlength=len(GROUP_IDS) + 1)[1:]
        counts = torch.cat([counts, members.to(counts)])
        if reference is not None:
            kl = kl_penalty(padded, reference, self.actor.kl_loss_type)  # type: ignore[arg-type]
            scale = self.kl_scale[(codes & 15).long()]
            loss = loss + self.actor.kl_loss_coef * self._mean(kl * scale, mask)
        return loss, counts, output

    def _table(
        self, log_probs: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, codes: Tensor
    ) -> tuple[Tensor, Tensor, TokenLossOutput]:
        groups = TokenGroups.decode(codes[mask])
        actor = self.actor
        output = token_loss(
            log_probs,
            old[mask],
            advantages[mask],
            torch.ones_like(log_probs, dtype=torch.bool),
            groups,
            self.objective,
            *(getattr(actor, name) for name in CLIP),
        )
        marks = (
            output.replaced,
            output.detached,
            groups.detach_low & (groups.group == 1),
            output.ppo_clip,
            # `htpo/replaced_fallen_frac` of the real stack; a positive loss pushes the token down.
            output.replaced & (output.ratio < FALLEN_RATIO) & (output.loss > 0),
        )
        loss = self._mean(torch.zeros(mask.shape).masked_scatter(mask, output.loss), mask)
        return loss, torch.stack([mark.sum() for mark in marks]), output

    def _mean(self, losses: Tensor, mask: Tensor) -> Tensor:
        return agg_loss(losses, mask, self.actor.loss_agg_mode, **self.actor.global_batch_info)
