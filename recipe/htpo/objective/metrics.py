# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Per-group metrics as ratios of pure sums.

`group_sums` gives sums over tokens, so those of micro-batches, data-parallel ranks and mini-batches may be added in
any order; `metrics_from_sums` divides once at the end. Every sum is a number named `<quantity>/<group id>`.
"""

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from recipe.htpo.objective.config import GROUP_IDS
from recipe.htpo.objective.loss import STATE_BITS, TokenLossOutput

FALLEN_RATIO = 0.1
"""A token below this ratio has lost nine tenths of its probability within one batch."""

DESTROYED_FRAC = 0.001
"""Share of all tokens that are replaced, fallen and pushed down further, above which a run is being destroyed. In the
lab's off-policy runs of `htpo_paper` and of its penalty alone it was 0.4 to 2 % at the fifth step; a row with a floor
above `FALLEN_RATIO` has none."""

_CORRECT = (1, 2, 5, 6)

_FALLEN = 1 << 13
_STATES = 1 << 14


@torch.no_grad()
def group_sums(
    output: TokenLossOutput, row_weight: Tensor | None = None, entropy: Tensor | None = None
) -> dict[str, float]:
    """Sums over the valid tokens of every group: one histogram over group and marks, one copy from the device.

    Args:
        output: result of `token_loss`, `[B, T]` or `[T_total]`.
        row_weight: factor of a token's loss in the aggregated loss, up to a constant, broadcast to the tokens' shape
            (`[B, 1]`); None where every token weighs the same, as in token-mean.
        entropy: token entropies in nats, where they belong to this call; non-finite values count as 0.

    Returns:
        `tokens/1` ... `tokens/8`, and likewise `clip`, `clip_lower`, `neg_log_ratio`, `ratio`, `replaced`,
        `replaced_above`, `replaced_below`, `replaced_fallen` (under `FALLEN_RATIO` and pushed down further), `treated`
        (replaced or detached), `detach_low`, `detach_high`, `sign_mismatch` (correct with A < 0 or wrong with A > 0),
        `abs_loss` and `abs_grad` (|loss| and |gradient by log_prob| in the aggregated loss), and with `entropy` also
        `entropy` and `entropy_zero`.
    """
    loss = output.loss.detach()
    fallen = torch.lt(output.ratio, FALLEN_RATIO, out=torch.empty_like(output.ratio))
    # A positive loss has a positive gradient: it pushes the token down.
    fallen = fallen.mul_(torch.gt(loss, 0, out=torch.empty_like(loss))).to(torch.int16)
    state = torch.add(output.state, fallen, alpha=_FALLEN).flatten()
    abs_loss = loss.abs()
    weights = {
        "tokens": None,
        "neg_log_ratio": -output.log_ratio,
        # A sum of many numbers near 1 would lose in fp32 what they differ by.
        "ratio": output.ratio - 1,
        "abs_loss": abs_loss if row_weight is None else abs_loss * row_weight,
    }
    histogram = {name: _histogram(state, weight) for name, weight in weights.items()}
    tokens = histogram.pop("tokens")
    sums = {"tokens": tokens.sum(0)}
    sums |= {name: tokens[_states(name, tokens.device)].sum(0) for name in _COUNTED}
    sums |= {name: values.sum(0) for name, values in histogram.items()}
    sums["ratio"] += sums["tokens"]
    sums["abs_grad"] = histogram["abs_loss"][_states("alive", tokens.device)].sum(0)
    if entropy is not None:
        sums |= _entropy_sums(output.state & 63, entropy)
    return _named(sums)


@torch.no_grad()
def entropy_sums(code: Tensor, entropy: Tensor) -> dict[str, float]:
    """`entropy/<group>` and `entropy_zero/<group>` (exactly 0) of tokens with these `TokenGroups` codes."""
    return _named(_entropy_sums(code, entropy))


def _entropy_sums(code: Tensor, entropy: Tensor) -> dict[str, Tensor]:
    group = (code & 15).flatten()
    finite = torch.nan_to_num(entropy, nan=0.0, posinf=0.0, neginf=0.0).flatten()
    return {
        "entropy": torch.bincount(group, weights=finite.double(), minlength=16),
        "entropy_zero": torch.bincount(group, weights=(entropy == 0).flatten().double(), minlength=16),
    }


def _histogram(state: Tensor, weight: Tensor | None) -> Tensor:
    """float64 `[state above the group's 4 bits, 16]`."""
    weight = None if weight is None else weight.flatten()
    return torch.bincount(state, weights=weight, minlength=_STATES).double().view(-1, 16)


def _any(index: Tensor, *names: str) -> Tensor:
    return (index & sum(_MASKS[name] for name in names)) > 0


def _all(index: Tensor, *names: str) -> Tensor:
    mask = sum(_MASKS[name] for name in names)
    return (index & mask) == mask


_MASKS = STATE_BITS | {"detach_low": 16, "detach_high": 32, "fallen": _FALLEN}
_COUNTED = {
    "clip": lambda i: _all(i, "above", "positive") | _all(i, "below", "negative"),
    "clip_lower": lambda i: _all(i, "over_cap", "negative") & ~_all(i, "replaced"),
    "replaced": lambda i: _all(i, "replaced"),
    "replaced_above": lambda i: _all(i, "replaced", "above"),
    "replaced_below": lambda i: _all(i, "replaced", "below"),
    "replaced_fallen": lambda i: _all(i, "replaced", "fallen"),
    "treated": lambda i: _any(i, "replaced", "detach_low", "detach_high"),
    "detach_low": lambda i: _all(i, "detach_low"),
    "detach_high": lambda i: _all(i, "detach_high"),
    "negative": lambda i: _all(i, "negative"),
    "positive": lambda i: _all(i, "positive"),
    "alive": lambda i: _all(i, "alive"),
}


@cache
def _states(name: str, device: torch.device) -> Tensor:
    """Rows of the histogram that have a mark."""
    index = torch.arange(0, _STATES, 16)
    return _COUNTED[name](index).nonzero()[:, 0].to(device)


def _named(sums: Mapping[str, Tensor]) -> dict[str, float]:
    """Numbers by `<quantity>/<group id>`, with a single copy from the device."""
    table = dict(zip(sums, torch.stack([values.double() for values in sums.values()]).tolist(), strict=True))
    if "negative" in table:
        negative, positive = table.pop("negative"), table.pop("positive")
        table["sign_mismatch"] = [(negative if g in _CORRECT else positive)[g] for g in range(16)]
    return {f"{name}/{group_id}": values[group_id] for name, values in table.items() for group_id in GROUP_IDS}


def metrics_from_sums(sums: Mapping[str, float]) -> dict[str, float]:
    """Metrics of all tokens that entered `sums`.

    Per group g in 1..8: `htpo/frac_group<g>` of all tokens; of the group's tokens `htpo/clip_frac_group<g>` (PPO
    clip active), `htpo/replaced_frac_group<g>`, `htpo/detach_low_frac_group<g>`, `htpo/detach_high_frac_group<g>`
    and the means `htpo/entropy_group<g>` (nats) and `htpo/ratio_group<g>`; `htpo/loss_share_group<g>` and
    `htpo/grad_share_group<g>` of the sum over groups of |loss| and |gradient| in the aggregated loss.

    Of all tokens: `htpo/treated_frac` (replaced or detached: not as PPO would), `htpo/replaced_frac`,
    `htpo/replaced_above_frac`, `htpo/replaced_below_frac`, `htpo/replaced_fallen_frac` (replaced with a ratio under
    0.1, and pushed down further), `htpo/detach_frac_low`, `htpo/detach_frac_high`, `htpo/sign_mismatch_frac` (correct
    with A < 0 or wrong with A > 0), `htpo/entropy_zero_frac` (exactly 0), and `actor/pg_clipfrac`,
    `actor/pg_clipfrac_lower` and `actor/ppo_kl` as verl defines them. A share of nothing is 0. Sums that are absent
    give no metric.
    """

    def total(name: str) -> float:
        return sum(sums[f"{name}/{group_id}"] for group_id in GROUP_IDS)

    # Metric name -> sum, as a share of all tokens.
    of_all = {
        "htpo/treated_frac": "treated",
        "htpo/replaced_frac": "replaced",
        "htpo/replaced_above_frac": "replaced_above",
        "htpo/replaced_below_frac": "replaced_below",
        "htpo/replaced_fallen_frac": "replaced_fallen",
        "htpo/detach_frac_low": "detach_low",
        "htpo/detach_frac_high": "detach_high",
        "htpo/sign_mismatch_frac": "sign_mismatch",
        "htpo/entropy_zero_frac": "entropy_zero",
        "actor/pg_clipfrac": "clip",
        "actor/pg_clipfrac_lower": "clip_lower",
        "actor/ppo_kl": "neg_log_ratio",
    }
    tokens = total("tokens")
    metrics = {metric: _share(total(name), tokens) for metric, name in of_all.items() if f"{name}/1" in sums}
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
        "grad_share": ("abs_grad", "all"),
    }
    for metric, (name, whole) in per_group.items():
        if f"{name}/1" not in sums:
            continue
        for group_id in GROUP_IDS:
            denominator = total(name) if whole == "all" else sums[f"tokens/{group_id}"]
            metrics[f"htpo/{metric}_group{group_id}"] = _share(sums[f"{name}/{group_id}"], denominator)
    return metrics


def destruction_warning(metrics: Mapping[str, float]) -> str | None:
    """What to say of a step whose replaced terms push tokens that have already fallen; None where all is well."""
    share = metrics["htpo/replaced_fallen_frac"]
    if share <= DESTROYED_FRAC:
        return None
    return (
        f"HTPO_FORK_TERMS_UNBOUNDED: {share:.2%} of the step's tokens have a replaced term although their probability "
        f"fell below {FALLEN_RATIO} of what it was; such a term pushes them on without end, and such runs collapse. "
        "Set a floor or a smaller scale on the rows that push so (objective.cells.hard_wrong_high.floor=0.7), or take "
        "fewer updates per batch"
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
