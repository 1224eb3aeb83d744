# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Rules: the loss that a table row gives to its tokens, one function per rule.

Notation: A advantage, r importance ratio, eps_low and eps_high the clip widths, c the dual-clip constant, sg the
stop-gradient, and id = exp(log_prob - sg[log_prob]), which is 1 and has gradient 1. A rule returns a loss that is
minimised, so an objective J of the paper enters as -J.

To add one: write a function of `TokenTerms` and `selected`, decorate it with `@register_rule("name")`, and name it
in a table row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

_MAX_LOG_RATIO = 20.0
"""verl clamps the log-ratio to +-20 before exponentiating it; the optional guard of the reciprocal ratio does too."""


@dataclass(frozen=True)
class TokenTerms:
    """What a rule may use. All tensors have one shape, `[B, T]` or `[T_total]`; invalid tokens have log-ratio 0."""

    log_ratio: Tensor
    """log_prob - old_log_prob, not clamped; carries the gradient."""
    ratio: Tensor
    """exp of the log-ratio clamped to +-20; carries the gradient."""
    advantages: Tensor
    ppo_loss: Tensor
    """Clipped and dual-clipped PPO loss, equal to verl's `vanilla`."""
    above: Tensor
    """bool, ratio > 1 + clip_ratio_high."""
    below: Tensor
    """bool, ratio < 1 - clip_ratio_low."""
    clip_ratio_low: float
    clip_ratio_high: float
    clip_ratio_c: float
    clamp_reciprocal_ratio: bool

    @cached_property
    def identity(self) -> Tensor:
        """1 with gradient 1: the paper's pi / SG[pi]. Not clamped, so the gradient survives any ratio."""
        return torch.exp(self.log_ratio - self.log_ratio.detach())

    def dual_clip(self, loss: Tensor) -> Tensor:
        """Cap `loss` at -A * c where A < 0."""
        return torch.where(self.advantages < 0, torch.min(-self.advantages * self.clip_ratio_c, loss), loss)


class RuleOutput(NamedTuple):
    """Loss of the tokens a rule applies to, and which of them no longer have a ratio-times-advantage term."""

    loss: Tensor
    replaced: Tensor


Rule = Callable[[TokenTerms, Tensor], RuleOutput]
"""`rule(terms, selected)`; `selected` (bool) marks the tokens whose result is used. The result elsewhere is dropped,
but its local derivative must be finite there: 0 * inf is NaN in the backward pass."""

_RULES: dict[str, Rule] = {}


def register_rule(name: str) -> Callable[[Rule], Rule]:
    """Decorator that makes a rule available to table rows as `rule: <name>`.

    Raises:
        ValueError: if the name is taken.
    """

    def decorate(rule: Rule) -> Rule:
        if name in _RULES:
            raise ValueError(f"rule {name!r} is already registered")
        _RULES[name] = rule
        return rule

    return decorate


def rule_names() -> tuple[str, ...]:
    """Names of all registered rules."""
    return tuple(_RULES)


def check_rule(name: str) -> None:
    """Raise ValueError, listing the valid names, if no rule is registered under `name`."""
    if name not in _RULES:
        raise ValueError(f"unknown rule {name!r}. Valid rules: {', '.join(_RULES)}")


def get_rule(name: str) -> Rule:
    """The rule registered under `name`; ValueError lists the valid names."""
    check_rule(name)
    return _RULES[name]


@register_rule("ppo")
def ppo(terms: TokenTerms, selected: Tensor) -> RuleOutput:
    """PPO with asymmetric clipping and dual clip."""
    return RuleOutput(terms.ppo_loss, torch.zeros_like(selected))


@register_rule("encourage")
def encourage(terms: TokenTerms, selected: Tensor) -> RuleOutput:
    """J = (1 + eps_high) * id * A: "encourage forking tokens" in the paper's figure."""
    return RuleOutput(-(1 + terms.clip_ratio_high) * terms.advantages * terms.identity, torch.ones_like(selected))


@register_rule("penalize")
def penalize(terms: TokenTerms, selected: Tensor) -> RuleOutput:
    """J = (1 - eps_low) * id * A: "penalize forking tokens" in the paper's figure."""
    return RuleOutput(-(1 - terms.clip_ratio_low) * terms.advantages * terms.identity, torch.ones_like(selected))


@register_rule("released_encourage")
def released_encourage(terms: TokenTerms, selected: Tensor) -> RuleOutput:
    """Group 2 of the public code: +(1 + eps_high) * id * A above, +(1 / r) * id * A below, -A * r inside the range.

    The two outer terms enter the minimised loss with the sign of an objective, so they push against the figure.
    """
    return _released_encourage(terms, selected, sign=1.0)


@register_rule("released_penalize")
def released_penalize(terms: TokenTerms, selected: Tensor) -> RuleOutput:
    """Groups 4 and 8 of the public code: +(1 - eps_low) * id * A below the clip range, -A * r elsewhere."""
    return _released_penalize(terms, sign=1.0)


@register_rule("signfix_encourage")
def signfix_encourage(terms: TokenTerms, selected: Tensor) -> RuleOutput:
    """`released_encourage` with the sign of both outer terms turned around."""
    return _released_encourage(terms, selected, sign=-1.0)


@register_rule("signfix_penalize")
def signfix_penalize(terms: TokenTerms, selected: Tensor) -> RuleOutput:
    """`released_penalize` with the sign of the term below the clip range turned around."""
    return _released_penalize(terms, sign=-1.0)


def _released_encourage(terms: TokenTerms, selected: Tensor, sign: float) -> RuleOutput:
    log_reciprocal = torch.where(selected & terms.below, -terms.log_ratio.detach(), 0.0)
    if terms.clamp_reciprocal_ratio:
        log_reciprocal = torch.clamp(log_reciprocal, max=_MAX_LOG_RATIO)
    outside = terms.above | terms.below
    coefficient = torch.where(terms.above, 1 + terms.clip_ratio_high, torch.exp(log_reciprocal))
    loss = torch.where(outside, sign * coefficient * terms.advantages * terms.identity, -terms.advantages * terms.ratio)
    return RuleOutput(terms.dual_clip(loss), outside)


def _released_penalize(terms: TokenTerms, sign: float) -> RuleOutput:
    replacement = sign * (1 - terms.clip_ratio_low) * terms.advantages * terms.identity
    loss = torch.where(terms.below, replacement, -terms.advantages * terms.ratio)
    return RuleOutput(terms.dual_clip(loss), terms.below)
