# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Rules: what a table row gives to its tokens, one function per rule.

Every term of the table is a loss `L = -A q` (A advantage, minimised), whose derivative by `log_prob` is `L` itself
where the token is *alive* and 0 where it is not. PPO is of that form: q is the clipped ratio, and a token is alive
where q is the ratio. So is the paper's pi / SG[pi]: q is its coefficient and every token is alive. A rule therefore
returns q, `alive` and `replaced`, and no derivative has to be traced.

Notation: r importance ratio, eps_low and eps_high the clip widths, c the dual-clip constant. Masks are 0 or 1 in the
dtype of the ratio: on a CPU, comparisons that write such masks and products with them are several times faster than
boolean masks and `torch.where`.

To add one: write a function of `TokenTerms`, decorate it with `@register_rule("name")`, and name it in a table row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenTerms:
    """What a rule may use; all tensors have one shape, `[B, T]` or `[T_total]`, and no gradient."""

    log_ratio: Tensor
    """log_prob - old_log_prob, not clamped; 0 outside the response mask."""
    ratio: Tensor
    """exp of the log-ratio clamped to +-20."""
    bounded: Tensor
    """0 or 1: the log-ratio lies within +-20, where the clamp lets a gradient through."""
    negative: Tensor
    """0 or 1: A < 0."""
    positive: Tensor
    """0 or 1: A > 0."""
    above: Tensor
    """0 or 1: ratio > 1 + clip_ratio_high of the token's row."""
    below: Tensor
    """0 or 1: ratio < 1 - clip_ratio_low of the token's row."""
    clip_ratio_low: Tensor | float
    """One value per token where rows have widths of their own."""
    clip_ratio_high: Tensor | float
    clip_ratio_c: float


class RuleParameters(Protocol):
    """The fields of a table row (`CellConfig`) that a rule may read."""

    @property
    def scale(self) -> float: ...

    @property
    def scale_above(self) -> float | None: ...


class RuleOutput(NamedTuple):
    """q of the loss -A q, where the token is alive, and where its ratio-times-advantage term was replaced.

    Tensors of the tokens' shape, or numbers that hold for all of them.
    """

    q: Tensor | float
    alive: Tensor | float
    replaced: Tensor | float


Rule = Callable[[TokenTerms, Tensor, RuleParameters], RuleOutput]
"""`rule(terms, selected, row)`: `selected` is 1 where the row applies to a token and 0 elsewhere, where results are
dropped but must be finite."""

_RULES: dict[str, Rule] = {}
_READS: dict[str, tuple[str, ...]] = {}
_OUTSIDE_ONLY: set[str] = set()


def register_rule(
    name: str, reads: tuple[str, ...] = ("scale", "scale_above"), outside_only: bool = False
) -> Callable[[Rule], Rule]:
    """Decorator that makes a rule available to table rows as `rule: <name>`.

    Args:
        name: what rows call it.
        reads: fields of `RuleParameters` that it uses; a row that sets another one is refused.
        outside_only: it has no term inside the clip range; a row that lets such tokens through is refused.

    Raises:
        ValueError: if the name is taken.
    """

    def decorate(rule: Rule) -> Rule:
        if name in _RULES:
            raise ValueError(f"rule {name!r} is already registered")
        _RULES[name], _READS[name] = rule, reads
        if outside_only:
            _OUTSIDE_ONLY.add(name)
        return rule

    return decorate


def rule_names() -> tuple[str, ...]:
    """Names of all registered rules; `ppo` is what every token has to begin with."""
    return ("ppo", *_RULES)


def check_rule(name: str) -> None:
    """Raise ValueError, listing the valid names, if no rule is registered under `name`."""
    if name not in rule_names():
        raise ValueError(f"unknown rule {name!r}. Valid rules: {', '.join(rule_names())}")


def rule_reads(name: str, field: str) -> bool:
    """Whether the rule registered under `name` uses a field of its row."""
    return field in _READS[name]


def is_outside_only(name: str) -> bool:
    """Whether the rule registered under `name` has no term inside the clip range."""
    return name in _OUTSIDE_ONLY


def get_rule(name: str) -> Rule:
    """The rule registered under `name`; ValueError lists the valid names."""
    check_rule(name)
    return _RULES[name]


def ppo(terms: TokenTerms) -> tuple[Tensor, Tensor]:
    """q and alive of PPO with asymmetric clipping and dual clip, equal to verl 0.9.1's `vanilla` bit for bit.

    At a clip edge the token is alive, as `torch.clamp` has it. At r = c exactly it is too; autograd would halve the
    gradient there.
    """
    lower = terms.negative * (1 - terms.clip_ratio_low)
    upper = (1 - terms.negative).mul_(1 + terms.clip_ratio_high).add_(terms.negative, alpha=terms.clip_ratio_c)
    q = torch.minimum(torch.maximum(terms.ratio, lower, out=lower), upper, out=lower)
    alive = torch.eq(q, terms.ratio, out=upper).mul_(terms.bounded)
    return q, alive


@register_rule("encourage", reads=("scale",))
def encourage(terms: TokenTerms, selected: Tensor, row: RuleParameters) -> RuleOutput:
    """J = scale (1 + eps_high) pi/SG[pi] A: "encourage forking tokens" in the paper's figure."""
    return RuleOutput(row.scale * (1 + terms.clip_ratio_high), 1.0, 1.0)


@register_rule("penalize", reads=("scale",))
def penalize(terms: TokenTerms, selected: Tensor, row: RuleParameters) -> RuleOutput:
    """J = scale (1 - eps_low) pi/SG[pi] A: "penalize forking tokens" in the paper's figure."""
    return RuleOutput(row.scale * (1 - terms.clip_ratio_low), 1.0, 1.0)


@register_rule("keep_gradient", outside_only=True)
def keep_gradient(terms: TokenTerms, selected: Tensor, row: RuleParameters) -> RuleOutput:
    """CE-GPPO (arXiv 2509.20712): the value of the clip with the gradient kept, `scale` (1 - eps_low) pi/SG[pi] A below
    the clip range and `scale_above` (1 + eps_high) pi/SG[pi] A above it."""
    scale_above = row.scale if row.scale_above is None else row.scale_above
    q = (row.scale * (1 - terms.clip_ratio_low)) * terms.below
    return RuleOutput(q.add_(terms.above * (scale_above * (1 + terms.clip_ratio_high))), 1.0, 1.0)


@register_rule("invert_ratio", reads=())
def invert_ratio(terms: TokenTerms, selected: Tensor, row: RuleParameters) -> RuleOutput:
    """ASPO (arXiv 2510.06062): 1/r instead of r where A >= 0, so that a token is raised the more the less likely it has
    become. PPO's clip ends the gradient; beyond c, of r or of 1/r, the gradient is that of c and stays. `scale` is not
    used. The public code has another value, not another gradient, beyond c."""
    negative, other = terms.negative, 1 - terms.negative
    inverse = torch.clamp(terms.ratio, max=1 + terms.clip_ratio_high).reciprocal_()
    q = torch.clamp(terms.ratio, min=1 - terms.clip_ratio_low).mul_(negative).addcmul_(other, inverse)
    q.clamp_(max=terms.clip_ratio_c)
    alive = 1 - negative * terms.below - other * terms.above
    capped = negative * (terms.ratio > terms.clip_ratio_c)
    return RuleOutput(q, alive, (terms.positive * (1 - terms.above)).add_(capped))


@register_rule("released_encourage", reads=("scale",))
def released_encourage(terms: TokenTerms, selected: Tensor, row: RuleParameters) -> RuleOutput:
    """Group 2 of the public code: +(1 + eps_high) id A above, +(1 / r) id A below, -A r inside the range.

    The two outer terms enter the minimised loss with the sign of an objective, so they push against the figure. The
    reciprocal is not clamped, as in the release, and overflows in float32 below a log-ratio of about -88; the row's
    `floor` bounds it.
    """
    return _released_encourage(terms, selected, row, sign=-1.0)


@register_rule("released_penalize", reads=("scale",))
def released_penalize(terms: TokenTerms, selected: Tensor, row: RuleParameters) -> RuleOutput:
    """Groups 4 and 8 of the public code: +(1 - eps_low) id A below the clip range, -A r elsewhere."""
    return _released_penalize(terms, row, sign=-1.0)


@register_rule("signfix_encourage", reads=("scale",))
def signfix_encourage(terms: TokenTerms, selected: Tensor, row: RuleParameters) -> RuleOutput:
    """`released_encourage` with the sign of both outer terms turned around."""
    return _released_encourage(terms, selected, row, sign=1.0)


@register_rule("signfix_penalize", reads=("scale",))
def signfix_penalize(terms: TokenTerms, selected: Tensor, row: RuleParameters) -> RuleOutput:
    """`released_penalize` with the sign of the term below the clip range turned around."""
    return _released_penalize(terms, row, sign=1.0)


def _released_encourage(terms: TokenTerms, selected: Tensor, row: RuleParameters, sign: float) -> RuleOutput:
    reciprocal = torch.exp(-terms.log_ratio * (selected * terms.below)) * terms.below
    coefficient = reciprocal.add_(terms.above * (1 + terms.clip_ratio_high))
    return _replaced_outside(terms, coefficient.mul_(sign * row.scale), terms.above + terms.below)


def _released_penalize(terms: TokenTerms, row: RuleParameters, sign: float) -> RuleOutput:
    return _replaced_outside(terms, (sign * row.scale * (1 - terms.clip_ratio_low)) * terms.below, terms.below)


def _replaced_outside(terms: TokenTerms, replacement: Tensor, replaced: Tensor) -> RuleOutput:
    """`replacement` (0 elsewhere) where `replaced`, the unclipped ratio elsewhere, and the dual clip over both."""
    q = replacement.addcmul_(terms.ratio, 1 - replaced)
    over = (q > terms.clip_ratio_c) & (terms.negative > 0)
    alive = torch.maximum(terms.bounded, replaced).masked_fill_(over, 0.0)
    return RuleOutput(q.masked_fill_(over, terms.clip_ratio_c), alive, replaced)
