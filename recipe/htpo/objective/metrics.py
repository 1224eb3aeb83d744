# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Per-group metrics as ratios of pure sums.

`group_sums` gives sums over tokens, so those of micro-batches, data-parallel ranks and mini-batches may be added in
any order; `metrics_from_sums` divides once at the end. Every sum is a flat scalar named `<quantity>/<group id>`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from recipe.htpo.objective.config import GROUP_IDS
from recipe.htpo.objective.loss import TokenLossOutput
from recipe.htpo.objective.partition import TokenGroups

_FORK_CORRECT = (2,)
_FORK_WRONG = (4, 8)
"""Group ids whose PPO term the HTPO presets replace."""


@torch.no_grad()
def group_sums(
    groups: TokenGroups,
    output: TokenLossOutput,
    advantages: Tensor,
    response_mask: Tensor,
    entropy: Tensor,
    gradient: Tensor | None = None,
) -> dict[str, Tensor]:
    """Sums over the valid tokens of every group, as 0-dim float64 tensors on the inputs' device.

    Args:
        groups: result of `partition`, `[B, T]` or `[T_total]` like every tensor here.
        output: result of `token_loss`.
        advantages: the advantages given to `token_loss`.
        response_mask: the mask given to `token_loss`.
        entropy: token entropies in nats; non-finite values count as 0.
        gradient: optional gradient of the aggregated loss with respect to `log_prob`; without it there are no
            `abs_grad` sums and no gradient shares.

    Returns:
        `tokens/1` ... `tokens/8`, and likewise `clip`, `clip_lower`, `neg_log_ratio`, `ratio`, `replaced`,
        `replaced_above`, `replaced_below`, `detach_low`, `detach_high`, `entropy`, `entropy_zero`, `sign_mismatch`,
        `abs_loss` and `abs_grad`.
    """
    valid = response_mask > 0
    group = torch.where(valid, groups.group, 0).long()
    correct = (group == 1) | (group == 2) | (group == 5) | (group == 6)
    quantities = {
        "tokens": valid,
        "clip": output.ppo_clip,
        "clip_lower": output.ppo_clip_lower,
        "neg_log_ratio": -output.log_ratio,
        "ratio": output.ratio,
        "replaced": output.replaced,
        "replaced_above": output.replaced_above,
        "replaced_below": output.replaced_below,
        "detach_low": groups.detach_low,
        "detach_high": groups.detach_high,
        "entropy": torch.nan_to_num(entropy, nan=0.0, posinf=0.0, neginf=0.0),
        "entropy_zero": entropy == 0,
        "sign_mismatch": torch.where(correct, advantages < 0, advantages > 0),
        "abs_loss": output.loss.abs(),
    }
    if gradient is not None:
        quantities["abs_grad"] = gradient.abs()
    values = torch.stack([value.reshape(-1).double() for value in quantities.values()])
    table = values.new_zeros(len(quantities), len(GROUP_IDS) + 1).index_add_(1, group.reshape(-1), values)
    return {f"{name}/{group_id}": table[row, group_id] for row, name in enumerate(quantities) for group_id in GROUP_IDS}


def add_sums(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sums of two disjoint sets of tokens taken together; both must have the same names."""
    if first.keys() != second.keys():
        raise ValueError(f"sums have different names: {', '.join(sorted(first.keys() ^ second.keys()))}")
    return {name: value + second[name] for name, value in first.items()}


def sums_to_floats(sums: Mapping[str, Tensor]) -> dict[str, float]:
    """The same sums as Python floats, with a single copy from the device."""
    return dict(zip(sums, torch.stack(list(sums.values())).tolist(), strict=True))


def metrics_from_sums(sums: Mapping[str, float]) -> dict[str, float]:
    """Metrics of all tokens that entered `sums` (`sums_to_floats`, added as wanted).

    Per group g in 1..8: `htpo/frac_group<g>` of all tokens; of the group's tokens `htpo/clip_frac_group<g>` (PPO
    clip active), `htpo/replaced_frac_group<g>`, `htpo/detach_low_frac_group<g>`, `htpo/detach_high_frac_group<g>`
    and the means `htpo/entropy_group<g>` (nats) and `htpo/ratio_group<g>`; `htpo/loss_share_group<g>` and
    `htpo/grad_share_group<g>` of the sum over groups of |loss| and |gradient|.

    Of all tokens: `htpo/replaced_frac_2up`, `_2dn`, `_48dn` (replaced above or below the clip range),
    `htpo/detach_frac_low`, `htpo/detach_frac_high`, `htpo/sign_mismatch_frac` (correct with A < 0 or wrong with
    A > 0), `htpo/entropy_zero_frac` (exactly 0), and `actor/pg_clipfrac`, `actor/pg_clipfrac_lower` and
    `actor/ppo_kl` as verl defines them. A share of nothing is 0.
    """

    def total(name: str, group_ids: tuple[int, ...] = GROUP_IDS) -> float:
        return sum(sums[f"{name}/{group_id}"] for group_id in group_ids)

    tokens = total("tokens")
    metrics = {
        "htpo/replaced_frac_2up": _share(total("replaced_above", _FORK_CORRECT), tokens),
        "htpo/replaced_frac_2dn": _share(total("replaced_below", _FORK_CORRECT), tokens),
        "htpo/replaced_frac_48dn": _share(total("replaced_below", _FORK_WRONG), tokens),
        "htpo/detach_frac_low": _share(total("detach_low"), tokens),
        "htpo/detach_frac_high": _share(total("detach_high"), tokens),
        "htpo/sign_mismatch_frac": _share(total("sign_mismatch"), tokens),
        "htpo/entropy_zero_frac": _share(total("entropy_zero"), tokens),
        "actor/pg_clipfrac": _share(total("clip"), tokens),
        "actor/pg_clipfrac_lower": _share(total("clip_lower"), tokens),
        "actor/ppo_kl": _share(total("neg_log_ratio"), tokens),
    }
    # Metric name -> (sum, what it is a share of: the group's tokens, or the same sum over all groups).
    per_group = {
        "frac": ("tokens", "all"),
        "clip_frac": ("clip", "group"),
        "replaced_frac": ("replaced", "group"),
        "detach_low_frac": ("detach_low", "group"),
        "detach_high_frac": ("detach_high", "group"),
        "entropy": ("entropy", "group"),
        "ratio": ("ratio", "group"),
        "loss_share": ("abs_loss", "all"),
    }
    if "abs_grad/1" in sums:
        per_group["grad_share"] = ("abs_grad", "all")
    for metric, (name, whole) in per_group.items():
        for group_id in GROUP_IDS:
            denominator = total(name) if whole == "all" else sums[f"tokens/{group_id}"]
            metrics[f"htpo/{metric}_group{group_id}"] = _share(sums[f"{name}/{group_id}"], denominator)
    return metrics


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
