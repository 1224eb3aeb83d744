# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Who: the group of every response token, and which tokens are detached.

All statistics have the scope of one response, so the result does not depend on how responses are batched.
Quantities counted per row are computed for all rows at once; there is no host synchronisation except the single
check for non-finite entropies.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from recipe.htpo.objective.config import CellConfig, ObjectiveConfig

_DETACH_LOW_BIT = 16
_DETACH_HIGH_BIT = 32


@dataclass(frozen=True)
class TokenGroups:
    """Group and detach marks of every token; all tensors have one shape, `[B, T]` or `[T_total]`."""

    group: Tensor
    """int8: 1..8 in the order of the table's rows, 0 for tokens outside the response mask."""
    detach_low: Tensor
    """bool, detached for being among the lowest entropies of its group in the response."""
    detach_high: Tensor
    """bool, detached for being among the highest entropies of its group in the response."""

    @property
    def low(self) -> Tensor:
        """bool, low-entropy tokens (odd groups)."""
        return self.group % 2 == 1

    @property
    def high(self) -> Tensor:
        """bool, high-entropy tokens (even groups)."""
        return (self.group > 0) & (self.group % 2 == 0)

    @property
    def detached(self) -> Tensor:
        """bool, tokens with zero loss."""
        return self.detach_low | self.detach_high

    def encode(self) -> Tensor:
        """One int8 per token, for transport in a single field: group + 16 * detach_low + 32 * detach_high."""
        marks = _DETACH_LOW_BIT * self.detach_low + _DETACH_HIGH_BIT * self.detach_high
        return (self.group + marks).to(torch.int8)

    @classmethod
    def decode(cls, code: Tensor) -> "TokenGroups":
        """Inverse of `encode`, for any layout and any integer dtype."""
        code = code.to(torch.int8)
        return cls(code % _DETACH_LOW_BIT, (code & _DETACH_LOW_BIT) > 0, (code & _DETACH_HIGH_BIT) > 0)


@torch.no_grad()
def partition(
    entropy: Tensor, response_mask: Tensor, hard: Tensor, correct: Tensor, config: ObjectiveConfig
) -> TokenGroups:
    """Split every response's tokens by entropy, and place them in the eight groups.

    With n valid tokens and k = max(int(high_entropy_ratio * n), 1), a token is high if its entropy is at least the
    k-th largest of the response. Rows without valid tokens have group 0 throughout.

    Args:
        entropy: `[B, T]` floating, token entropies in nats; values outside the mask are ignored, even NaN.
        response_mask: `[B, T]` bool, integer or floating; > 0 marks valid tokens.
        hard: `[B]` bool, response of a hard prompt.
        correct: `[B]` bool, verified answer.
        config: objective; uses `high_entropy_ratio`, `nonfinite_entropy` and the rows' detach parameters.

    Raises:
        ValueError: on wrong shapes or dtypes, and on a non-finite entropy of a valid token unless
            `nonfinite_entropy` is `low`.
    """
    _check_inputs(entropy, response_mask, hard, correct)
    valid = response_mask > 0
    finite = entropy.isfinite()
    if config.nonfinite_entropy == "error" and bool((valid & ~finite).any()):
        raise ValueError(
            f"entropy is not finite in {int((valid & ~finite).sum())} response tokens; "
            "fix the forward pass, or set nonfinite_entropy=low to rank such tokens below all others"
        )
    entropy = torch.where(valid & finite, entropy, -torch.inf)

    num_valid = valid.sum(-1)
    num_high = _truncated_share(config.high_entropy_ratio, num_valid)
    ascending = torch.where(valid, entropy, torch.inf).sort(dim=-1).values
    threshold = _at(ascending, num_valid - num_high)
    high = valid & finite & (entropy >= threshold)
    low = valid & ~high

    quadrant = 2 * (~hard).long() + (~correct).long()
    group = torch.where(valid, 1 + 2 * quadrant[:, None] + high, 0).to(torch.int8)

    detach_low, detach_high = torch.zeros_like(valid), torch.zeros_like(valid)
    num_low = low.sum(-1)
    subsets: tuple[tuple[Tensor, Tensor, Tensor, int], ...] = (
        (low, torch.zeros_like(num_low), num_low, 1),
        (high, num_low, num_valid - num_low, 2),
    )
    for member, start, count, first_group in subsets:
        cells = [config.cells[first_group + 2 * index] for index in range(4)]
        span = _Span(entropy, ascending, member, start, count, quadrant)
        detach_low |= span.select(cells, "lowest")
        detach_high |= span.select(cells, "highest")
    return TokenGroups(group, detach_low, detach_high)


@dataclass(frozen=True)
class _Span:
    """The low or the high tokens of every response: a contiguous span of the row's ascending entropies."""

    entropy: Tensor
    ascending: Tensor
    member: Tensor
    start: Tensor
    count: Tensor
    quadrant: Tensor

    def select(self, cells: list[CellConfig], end: Literal["lowest", "highest"]) -> Tensor:
        """bool `[B, T]`: the share at one end of the span, with the parameters of each row's cell."""
        shares = [cell.detach_lowest if end == "lowest" else cell.detach_highest for cell in cells]
        if not any(shares):
            return torch.zeros_like(self.member)
        share = self.entropy.new_tensor(shares, dtype=torch.float64)[self.quadrant]
        by_rank = torch.tensor([cell.detach_mode == "rank" for cell in cells], device=share.device)[self.quadrant]
        k = _truncated_share(share, self.count)
        candidate = self.member & (share > 0)[:, None]
        if end == "lowest":
            cut = _at(self.ascending, self.start + k - 1)
            beyond = candidate & (self.entropy < cut)
        else:
            cut = _at(self.ascending, self.start + self.count - k)
            beyond = candidate & (self.entropy > cut)
        at_cut = candidate & (self.entropy == cut)
        # As published, the k-th lowest itself stays and the k-th highest, with all its ties, goes.
        taken_at_cut = torch.where(by_rank, k - beyond.sum(-1), 0 if end == "lowest" else at_cut.shape[-1])
        return beyond | (at_cut & (at_cut.cumsum(-1) <= taken_at_cut[:, None]))


def _truncated_share(share: float | Tensor, count: Tensor) -> Tensor:
    """max(int(share * count), 1) with the product in float64, as Python computes it; int64 `[B]`."""
    return (share * count.double()).long().clamp(min=1)


def _at(ascending: Tensor, index: Tensor) -> Tensor:
    """`[B, 1]` entropies at one sorted position per row; out of range (empty sets only) is clamped."""
    last = ascending.shape[-1] - 1
    return ascending.gather(-1, index.clamp(0, last)[:, None])


def _check_inputs(entropy: Tensor, response_mask: Tensor, hard: Tensor, correct: Tensor) -> None:
    if entropy.dim() != 2 or entropy.shape[1] == 0 or not entropy.is_floating_point():
        raise ValueError(f"entropy must be a floating [B, T] tensor with T > 0, got {tuple(entropy.shape)}")
    if response_mask.shape != entropy.shape:
        raise ValueError(f"response_mask must have shape {tuple(entropy.shape)}, got {tuple(response_mask.shape)}")
    for name, value in (("hard", hard), ("correct", correct)):
        if value.shape != entropy.shape[:1] or value.dtype != torch.bool:
            raise ValueError(
                f"{name} must be bool of shape {tuple(entropy.shape[:1])}, got {value.dtype} {tuple(value.shape)}"
            )
