# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Who: the group (prompt difficulty x correctness x token entropy) and the detach marks of every token.

The entropy split has the scope of one response, so results do not depend on how responses are batched, packed or
split over ranks. It is made once per training batch, by selection and not by sorting, and is free of host
synchronisation except for the sizes of the selection and the check for non-finite entropies.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from recipe.htpo.objective.config import CellConfig, ObjectiveConfig

_GROUP_BITS = 15
_DETACH_LOW_BIT = 16
_DETACH_HIGH_BIT = 32
_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class TokenGroups:
    """Group and detach marks of every token, one byte each: `[B, T]` or `[T_total]`."""

    code: Tensor
    """int8: group + 16 * detach_low + 32 * detach_high; 0 for tokens outside the response mask."""

    @classmethod
    def of(cls, group: Tensor, detach_low: Tensor, detach_high: Tensor) -> "TokenGroups":
        """From the group ids and both marks, tensors of one shape."""
        return cls((group + _DETACH_LOW_BIT * detach_low + _DETACH_HIGH_BIT * detach_high).to(torch.int8))

    @property
    def group(self) -> Tensor:
        """int8: 1..8 in the order of the table's rows, 0 for tokens outside the response mask."""
        return self.code & _GROUP_BITS

    @property
    def detach_low(self) -> Tensor:
        """bool, detached for being among the lowest entropies of its group in the response."""
        return (self.code & _DETACH_LOW_BIT) > 0

    @property
    def detach_high(self) -> Tensor:
        """bool, detached for being among the highest entropies of its group in the response."""
        return (self.code & _DETACH_HIGH_BIT) > 0

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
        return self.code > _GROUP_BITS

    def encode(self) -> Tensor:
        """`code`, for transport in a single field."""
        return self.code

    @classmethod
    def decode(cls, code: Tensor) -> "TokenGroups":
        """Inverse of `encode`, for any layout and any dtype that holds the code's values."""
        return cls(code.to(torch.int8))


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
    threshold = _kth(entropy, _truncated_share(config.high_entropy_ratio, num_valid), largest=True)
    high = valid & finite & (entropy >= threshold)
    low = valid & ~high

    quadrant = 2 * (~hard).long() + (~correct).long()
    group = torch.where(valid, 1 + 2 * quadrant[:, None] + high, 0).to(torch.int8)

    detach_low, detach_high = torch.zeros_like(valid), torch.zeros_like(valid)
    for member, first_group in ((low, 1), (high, 2)):
        cells = [config.cells[first_group + 2 * index] for index in range(4)]
        detach_low |= _selected(entropy, member, quadrant, cells, "lowest")
        detach_high |= _selected(entropy, member, quadrant, cells, "highest")
    return TokenGroups.of(group, detach_low, detach_high)


def partition_jagged(
    entropy: Tensor, response_mask: Tensor, lengths: Tensor, hard: Tensor, correct: Tensor, config: ObjectiveConfig
) -> TokenGroups:
    """`partition` of responses that stand one after another; the result is packed as they are.

    Rows are taken a few at a time in the order of their lengths, so that a long response makes no short one wide.

    Args:
        entropy: `[T_total]` floating, token entropies in nats.
        response_mask: `[T_total]`; > 0 marks valid tokens.
        lengths: `[B]` int64, tokens of every response; they sum to `T_total`.
        hard: `[B]` bool.
        correct: `[B]` bool.
        config: objective.

    Raises:
        ValueError: as `partition`, and if the lengths do not sum to the number of tokens.
    """
    if int(lengths.sum()) != entropy.numel() or response_mask.shape != entropy.shape:
        raise ValueError(
            f"lengths sum to {int(lengths.sum())}, but there are {entropy.numel()} entropies and "
            f"{response_mask.numel()} mask values"
        )
    start = lengths.cumsum(0) - lengths
    code = torch.zeros(entropy.shape, dtype=torch.int8, device=entropy.device)
    for rows in lengths.argsort().split(_ROWS_AT_ONCE):
        column = torch.arange(max(int(lengths[rows].max()), 1), device=entropy.device)
        inside = column < lengths[rows][:, None]
        place = (start[rows][:, None] + column)[inside]
        padded_entropy, padded_mask = (
            torch.zeros(inside.shape, dtype=values.dtype, device=values.device).masked_scatter_(inside, values[place])
            for values in (entropy, response_mask)
        )
        code[place] = partition(padded_entropy, padded_mask, hard[rows], correct[rows], config).code[inside]
    return TokenGroups(code)


def _selected(
    entropy: Tensor, member: Tensor, quadrant: Tensor, cells: list[CellConfig], end: Literal["lowest", "highest"]
) -> Tensor:
    """bool `[B, T]`: the share at one end of each row's members (low or high tokens), by the row's cell."""
    shares = [cell.detach_lowest if end == "lowest" else cell.detach_highest for cell in cells]
    if not any(shares):
        return torch.zeros_like(member)
    share = torch.tensor(shares, dtype=torch.float64, device=entropy.device)[quadrant]
    by_rank = torch.tensor([cell.detach_mode == "rank" for cell in cells], device=entropy.device)[quadrant]
    k = _truncated_share(share, member.sum(-1))
    candidate = member & (share > 0)[:, None]
    if end == "lowest":
        cut = _kth(torch.where(candidate, entropy, torch.inf), k, largest=False)
        beyond = candidate & (entropy < cut)
    else:
        cut = _kth(torch.where(candidate, entropy, -torch.inf), k, largest=True)
        beyond = candidate & (entropy > cut)
    at_cut = candidate & (entropy == cut)
    # As published, the k-th lowest itself stays and the k-th highest, with all its ties, goes.
    taken_at_cut = torch.where(by_rank, k - beyond.sum(-1), 0 if end == "lowest" else at_cut.shape[-1])
    return beyond | (at_cut & (at_cut.cumsum(-1) <= taken_at_cut[:, None]))


def _truncated_share(share: float | Tensor, count: Tensor) -> Tensor:
    """max(int(share * count), 1) with the product in float64, as Python computes it; int64 `[B]`."""
    return (share * count.double()).long().clamp(min=1)


def _kth(entropy: Tensor, k: Tensor, largest: bool) -> Tensor:
    """`[B, 1]`: the k-th largest or smallest entropy of every row; k is `[B]` and at most the row's width."""
    if entropy.shape[0] == 0:
        return entropy.new_zeros(0, 1)
    selected = entropy.topk(int(k.max().clamp(max=entropy.shape[1])), dim=-1, largest=largest).values
    return selected.gather(-1, (k - 1).clamp(max=selected.shape[1] - 1)[:, None])


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
