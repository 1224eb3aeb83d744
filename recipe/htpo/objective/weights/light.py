# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Advantage transforms that need no model pass of their own.

`ar`, `w_reinforce` and `sequence_mask` weigh the base estimator's advantages. `gtpo`, `qae`, `maxrl` and `asymre` are
estimators: they make advantages from the verified answers, as rewards r of 1 and 0, and ignore the base. Statistics
have the scope of a prompt over the counted responses of the batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from recipe.htpo.objective.weights.registry import WeightBatch, check_number, register_weight

_LARGE = 1e6
_GRPO_EPS = 1e-6
_GTPO_EPS = 1e-8


@dataclass(frozen=True, kw_only=True)
class ArParameters:
    alpha: float = 0.2
    """Share of the weight that follows the token's probability; in [0, 1]."""

    def __post_init__(self) -> None:
        check_number(self, "alpha", 0, 1)


@register_weight("ar", ArParameters, needs=("old_log_prob",))
def ar(batch: WeightBatch, parameters: ArParameters) -> Tensor:
    """Advantage reweighting (arXiv 2505.12929): A <- (alpha pi_old + 1 - alpha) A."""
    return (parameters.alpha * batch.need("old_log_prob").exp() + 1 - parameters.alpha) * batch.advantages


@dataclass(frozen=True, kw_only=True)
class WReinforceParameters:
    positive: float = 0.1
    """Factor lambda on correct responses, at least 0; 0 learns from wrong responses only."""

    def __post_init__(self) -> None:
        check_number(self, "positive", 0, _LARGE)


@register_weight("w_reinforce", WReinforceParameters)
def w_reinforce(batch: WeightBatch, parameters: WReinforceParameters) -> Tensor:
    """W-REINFORCE (arXiv 2506.01347): A <- lambda A for correct responses. The paper's base is A = +1 and -1."""
    return torch.where(batch.correct[:, None], parameters.positive * batch.advantages, batch.advantages)


@dataclass(frozen=True, kw_only=True)
class SequenceMaskParameters:
    delta: float = 0.5
    """Largest mean log-ratio, in nats per token, of a response with a negative advantage; at least 0."""

    def __post_init__(self) -> None:
        check_number(self, "delta", 0, _LARGE)


@register_weight("sequence_mask", SequenceMaskParameters, needs=("old_log_prob", "rollout_log_prob"))
def sequence_mask(batch: WeightBatch, parameters: SequenceMaskParameters) -> Tensor:
    """Off-policy sequence masking (DeepSeek-V3.2): A <- 0 for a response with mean advantage below 0 and a mean of
    `rollout_log_prob - old_log_prob` above delta.

    It sees the distance of sampler and old policy, not that of the updates that follow.
    """
    length = batch.valid.sum(-1).clamp(min=1)
    distance = (batch.need("rollout_log_prob") - batch.need("old_log_prob")).sum(-1) / length
    dropped = (batch.need("advantages").sum(-1) < 0) & (distance > parameters.delta)
    return batch.advantages.masked_fill(dropped[:, None], 0)


@dataclass(frozen=True, kw_only=True)
class QaeParameters:
    quantile: float = 0.4
    """K in (0, 1): level of the baseline quantile."""

    def __post_init__(self) -> None:
        check_number(self, "quantile", 0, 1)
        if self.quantile in (0, 1):
            raise ValueError(f"quantile must be strictly between 0 and 1, got {self.quantile}")


@register_weight("qae", QaeParameters)
def qae(batch: WeightBatch, parameters: QaeParameters) -> Tensor:
    """Quantile baseline (arXiv 2509.22611): A = (r - Q_K) / (std + 1e-6), Q_K the smallest r with P(reward <= r) >= K.

    With binary rewards Q_K is 0 if the pass rate is at most 1 - K: then only successes count; else it is 1, and only
    failures do. The standard deviation is verl's for GRPO, unbiased; prompts without a mixed outcome have A = 0.
    """
    rate, size = batch.pass_rate, batch.group_size
    # Compared as counts of failures: 1 - rate >= K would be decided by rounding where they are equal.
    baseline = (size - batch.prompt_sum(batch.correct) < parameters.quantile * size - 1e-9).double()
    std = (rate * (1 - rate) * size / (size - 1).clamp(min=1)).sqrt()
    return batch.with_rows(torch.where(std > 0, (batch.correct.double() - baseline) / (std + _GRPO_EPS), 0))


@dataclass(frozen=True, kw_only=True)
class MaxRlParameters:
    """MaxRL has none."""


@register_weight("maxrl", MaxRlParameters)
def maxrl(batch: WeightBatch, parameters: MaxRlParameters) -> Tensor:
    """MaxRL (arXiv 2602.02710): A = (r - mean) / mean; 0 where no response is correct."""
    rate = batch.pass_rate
    return batch.with_rows(torch.where(rate > 0, (batch.correct.double() - rate) / rate.where(rate > 0, 1), 0))


@dataclass(frozen=True, kw_only=True)
class AsymReParameters:
    delta_v: float = -0.1
    """Shift of the baseline: below 0 it stresses correct responses."""

    def __post_init__(self) -> None:
        check_number(self, "delta_v", -_LARGE, _LARGE)


@register_weight("asymre", AsymReParameters)
def asymre(batch: WeightBatch, parameters: AsymReParameters) -> Tensor:
    """AsymRE (arXiv 2506.20520): A = r - mean - delta_v, for a loss without ratio and clip (verl's `gpg`)."""
    return batch.with_rows(batch.correct.double() - batch.pass_rate - parameters.delta_v)


@dataclass(frozen=True, kw_only=True)
class GtpoParameters:
    alpha1: float = 1.0
    """Part of the reward that all tokens of a response share; at least 0."""
    alpha2: float = 0.1
    """Part that is shared out by entropy; at least 0."""

    def __post_init__(self) -> None:
        check_number(self, "alpha1", 0, _LARGE)
        check_number(self, "alpha2", 0, _LARGE)


@register_weight("gtpo", GtpoParameters, needs=("entropy",))
def gtpo(batch: WeightBatch, parameters: GtpoParameters) -> Tensor:
    """GTPO (arXiv 2508.04349): token rewards by old-policy entropy H, normalised over the prompt's tokens of a side.

    Correct: alpha1 + alpha2 d_t H_t / sum H_t; wrong: -alpha1 - alpha2 h_t (1/H_t) / sum (1/H_t), where sums and the
    counts d_t and h_t are over the prompt's correct (wrong) responses that reach position t. Then A = (reward - mean)
    / (std + 1e-8) over all correct (wrong) tokens of the prompt, with the population's standard deviation.

    Raises:
        ValueError: an entropy of a response token is not finite: its whole side of the prompt would be NaN.
    """
    valid = batch.valid
    entropy = batch.need("entropy").double()
    if not bool(entropy.isfinite().all()):
        raise ValueError(
            f"entropy is not finite in {int((~entropy.isfinite()).sum())} response tokens, and gtpo shares rewards out "
            "by it; fix the forward pass, or choose another of objective.weights"
        )
    # Rounding makes entropies of confident tokens slightly negative: sums of such have any sign.
    entropy = entropy.clamp(min=0)
    share = torch.where(batch.correct[:, None], entropy, 1 / entropy.clamp(min=_GTPO_EPS)).where(valid, 0)
    # One index for each side of a prompt.
    side = 2 * batch.prompt_index + batch.correct
    running = _side_sum(valid.double(), side)
    total = _side_sum(share, side)
    # A response that is alone has exactly its own share; an epsilon in the sum would be blown up by the deviation.
    bonus = torch.where(total > 0, running * (share / total.where(total > 0, 1)), 0)
    sign = torch.where(batch.correct, 1.0, -1.0)[:, None].double()
    reward = (sign * (parameters.alpha1 + parameters.alpha2 * bonus)).where(valid, 0)
    count = _side_sum(valid.sum(-1).double(), side).clamp(min=1)[:, None]
    centred = (reward - _side_sum(reward.sum(-1), side)[:, None] / count).where(valid, 0)
    std = (_side_sum(centred.square().sum(-1), side)[:, None] / count).sqrt()
    return (centred / (std + _GTPO_EPS)).to(batch.advantages.dtype)


def _side_sum(value: Tensor, side: Tensor) -> Tensor:
    """Sum of rows with the same `side`, for every row."""
    size = int(side.max()) + 1 if side.numel() else 0
    return value.new_zeros((size, *value.shape[1:])).index_add_(0, side, value)[side]
