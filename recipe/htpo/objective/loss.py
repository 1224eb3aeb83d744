# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What: the loss of every token, chosen by its group's row in the objective table. No aggregation here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from recipe.htpo.objective.config import GROUP_IDS, CellConfig, ObjectiveConfig
from recipe.htpo.objective.partition import TokenGroups
from recipe.htpo.objective.rules import TokenTerms, get_rule, ppo

_MAX_LOG_RATIO = 20.0
"""verl clamps the log-ratio to +-20 before exponentiating it."""


# Bits of a token's state above the 6 of its group's code (`TokenGroups`).
STATE_BITS = {
    name: 1 << (6 + i)
    for i, name in enumerate(("alive", "replaced", "above", "below", "negative", "positive", "over_cap"))
}


@dataclass(frozen=True)
class TokenLossOutput:
    """Per-token loss and what happened to every token; one shape, `[B, T]` or `[T_total]`.

    All but `loss` are without gradient, and 0, False or (`ratio`) 1 outside the response mask.
    """

    loss: Tensor
    """Loss to be minimised; exactly 0 for detached tokens and outside the response mask. d loss / d log_prob is `loss`
    where `alive`, else 0."""
    log_ratio: Tensor
    """log_prob - old_log_prob, clamped to +-20."""
    ratio: Tensor
    """exp(log_ratio)."""
    state: Tensor
    """int16: the code of the token's group, and `STATE_BITS` of what happened to it."""

    def has(self, *marks: str) -> Tensor:
        """bool, the token has all of these `STATE_BITS`."""
        bits = sum(STATE_BITS[mark] for mark in marks)
        return (self.state & bits) == bits

    @property
    def alive(self) -> Tensor:
        """bool, the token has a gradient."""
        return self.has("alive")

    @property
    def replaced(self) -> Tensor:
        """bool, the group's rule replaced the PPO term (and the token is not detached)."""
        return self.has("replaced")

    @property
    def detached(self) -> Tensor:
        """bool, zero loss because of its entropy rank."""
        return TokenGroups(self.state & 63).detached

    @property
    def ppo_clip(self) -> Tensor:
        """bool, the PPO clip is active by verl's formula, whatever rule the token has."""
        return self.has("above", "positive") | self.has("below", "negative")

    @property
    def ppo_clip_lower(self) -> Tensor:
        """bool, the dual clip is active by verl's formula, for tokens that keep their PPO term."""
        return self.has("over_cap", "negative") & ~self.replaced


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
    verl 0.9.1's `vanilla` policy loss (`verl/trainer/ppo/core_algos.py`), and its gradient, to the last bit (but at a
    ratio of exactly `clip_ratio_c`, where autograd halves verl's gradient); of 16-bit inputs verl's is rounded to their
    precision, this one is computed in fp32. Values outside the response mask are ignored, even NaN.

    Args:
        log_prob: current log-probability of the sampled tokens, floating; carries the gradient.
        old_log_prob: the same at the start of the update.
        advantages: one value per token.
        response_mask: bool, integer or floating; > 0 marks valid tokens. It must not mark tokens outside the mask
            that `groups` was computed with; such tokens have group 0 and zero loss.
        groups: result of `partition` for the same tokens.
        config: objective.
        clip_ratio_low: lower clip width, in [0, 1), of rows that have none of their own.
        clip_ratio_high: upper clip width, at least 0, of such rows.
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
        "groups": groups.code,
        "rollout_is_weights": rollout_is_weights,
    }
    for name, tensor in tensors.items():
        if tensor is not None and tensor.shape != log_prob.shape:
            raise ValueError(f"{name} must have the shape of log_prob {tuple(log_prob.shape)}, got {tensor.shape}")

    with torch.no_grad():
        code = groups.code * (response_mask > 0)
        # One dtype: a rounded q would not be equal to its ratio, and a state's bits do not fit into 16-bit floats.
        dtype = reduce(torch.promote_types, (log_prob.dtype, old_log_prob.dtype, advantages.dtype), torch.float32)
        group = (code & 15).to(dtype)
        inside = _bits(group)
        log_ratio = _zero_outside(log_prob.detach().to(dtype) - old_log_prob, inside)
        negated_advantages = _zero_outside(-advantages.to(dtype), inside)
        weights = None if rollout_is_weights is None else _zero_outside(rollout_is_weights.clone(), inside)
        del inside
        clamped = torch.clamp(log_ratio, min=-_MAX_LOG_RATIO, max=_MAX_LOG_RATIO)
        ratio = torch.exp(clamped)
        low = _width(config, "clip_ratio_low", clip_ratio_low, group)
        high = _width(config, "clip_ratio_high", clip_ratio_high, group)
        terms = TokenTerms(
            log_ratio=log_ratio,
            ratio=ratio,
            bounded=_mark(torch.eq, clamped, log_ratio),
            negative=_mark(torch.gt, negated_advantages, 0),
            positive=_mark(torch.lt, negated_advantages, 0),
            above=_mark(torch.gt, ratio, 1 + high),
            below=_mark(torch.lt, ratio, 1 - low),
            clip_ratio_low=low,
            clip_ratio_high=high,
            clip_ratio_c=clip_ratio_c,
        )
        q, alive = ppo(terms)
        replaced = torch.zeros_like(q)
        for cell, members in _rows_with_a_rule(config):
            selected = _selected(cell, members, group, terms)
            result = get_rule(cell.rule)(terms, selected, cell)
            other = 1 - selected
            q = _add(q.mul_(other), selected, result.q)
            alive = _add(alive.mul_(other), selected, result.alive)
            replaced = _add(replaced.mul_(other), selected, result.replaced)
            del selected, other, result
        keep = torch.clamp(group, max=1, out=group).sub_(_mark(torch.gt, code.to(q.dtype), 15))
        q.mul_(keep)
        state = code.to(q.dtype)
        for name, mark in (("alive", alive.mul_(keep)), ("replaced", replaced.mul_(keep))):
            state.add_(mark, alpha=STATE_BITS[name])
        for name in ("above", "below", "negative", "positive"):
            state.add_(getattr(terms, name), alpha=STATE_BITS[name])
        state.add_(_mark(torch.gt, ratio, clip_ratio_c), alpha=STATE_BITS["over_cap"])
        state = state.to(torch.int16)
        del terms, replaced, keep, group, log_ratio, low, high

    # The operations and their order are those of verl's vanilla loss: the DAPO preset is equal bit for bit.
    loss = _TokenLoss.apply(log_prob, negated_advantages, q, alive)
    if weights is not None:
        loss = loss * weights
    return TokenLossOutput(loss=loss, log_ratio=clamped, ratio=ratio, state=state)


class _TokenLoss(torch.autograd.Function):
    """loss = -A q, with the derivative -A q by log_prob where the token is alive."""

    @staticmethod
    def forward(ctx: Any, log_prob: Tensor, negated_advantages: Tensor, q: Tensor, alive: Tensor) -> Tensor:
        ctx.save_for_backward(negated_advantages, q, alive)
        return negated_advantages * q

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        negated_advantages, q, alive = ctx.saved_tensors
        return (grad * negated_advantages).mul_(q).mul_(alive), None, None, None


def _width(config: ObjectiveConfig, name: str, default: float, group: Tensor) -> Tensor | float:
    """`default`, or one value per token where a row has a clip width of its own."""
    own = [getattr(config.cells[group_id], name) for group_id in GROUP_IDS]
    if all(width is None for width in own):
        return default
    values = [default, *(default if width is None else width for width in own)]
    return torch.tensor(values, dtype=group.dtype, device=group.device)[group.long()]


def _rows_with_a_rule(config: ObjectiveConfig) -> Sequence[tuple[CellConfig, list[int]]]:
    """Rows whose rule is not `ppo`, groups with an equal row together."""
    rows: dict[tuple, tuple[CellConfig, list[int]]] = {}
    for group_id in GROUP_IDS:
        cell = config.cells[group_id]
        if cell.rule != "ppo":
            key = (cell.rule, cell.region, cell.gate, cell.scale, cell.scale_above, cell.floor, cell.ceiling)
            rows.setdefault(key, (cell, []))[1].append(group_id)
    return list(rows.values())


def _selected(cell: CellConfig, members: list[int], group: Tensor, terms: TokenTerms) -> Tensor:
    """0 or 1: the tokens that the row's rule applies to."""
    if len(members) == len(GROUP_IDS):
        selected = group.clamp(max=1)
    else:
        selected = _mark(torch.eq, group, members[0])
        for group_id in members[1:]:
            selected += _mark(torch.eq, group, group_id)
    if cell.region == "above":
        selected *= terms.above
    elif cell.region == "below":
        selected *= terms.below
    elif cell.region == "outside":
        selected *= terms.above + terms.below
    elif cell.region == "inside":
        selected *= 1 - terms.above - terms.below
    if cell.gate == "ratio_and_sign" and cell.region in ("above", "below"):
        selected *= terms.positive if cell.region == "above" else terms.negative
    elif cell.gate == "ratio_and_sign":
        selected *= (terms.above * terms.positive).addcmul_(terms.below, terms.negative)
    if cell.floor > 0:
        selected *= _mark(torch.ge, terms.ratio, cell.floor)
    if cell.ceiling is not None:
        selected *= _mark(torch.le, terms.ratio, cell.ceiling)
    return selected


def _add(values: Tensor, selected: Tensor, result: Tensor | float) -> Tensor:
    """`values` plus `result` where `selected`."""
    return values.addcmul_(selected, result) if isinstance(result, Tensor) else values.add_(selected, alpha=result)


def _mark(compare: Callable[..., Tensor], values: Tensor, bound: Tensor | float) -> Tensor:
    """The comparison as 0 or 1 in the dtype of `values`."""
    return compare(values, bound, out=torch.empty_like(values))


_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def _bits(group: Tensor) -> Tensor:
    """All bits set where a token has a group, none elsewhere; an integer as wide as the group's dtype."""
    return group.clamp(max=1).to(_INTEGERS[group.element_size()]).neg_()


def _zero_outside(values: Tensor, inside: Tensor) -> Tensor:
    """Sets `values` in place to 0 outside, whatever stands there: NaN times 0 would be NaN.

    A bit mask; on a CPU `torch.where` costs as much as the rest of the loss.
    """
    values.view(_INTEGERS[values.element_size()]).bitwise_and_(inside.to(_INTEGERS[values.element_size()]))
    return values


def _check_clip(clip_ratio_low: float, clip_ratio_high: float, clip_ratio_c: float) -> None:
    if not 0 <= clip_ratio_low < 1:
        raise ValueError(f"clip_ratio_low must be in [0, 1), got {clip_ratio_low}")
    if not clip_ratio_high >= 0:
        raise ValueError(f"clip_ratio_high must be at least 0, got {clip_ratio_high}")
    if not clip_ratio_c > 1:
        raise ValueError(f"clip_ratio_c, the dual-clip constant, must be above 1, got {clip_ratio_c}")
