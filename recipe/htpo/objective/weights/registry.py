# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Advantage transforms: how much a token counts. Registered by name, each with the dataclass of its parameters.

To add one: write a frozen dataclass that checks its values, and a function `(batch, parameters) -> advantages`
decorated with `@register_weight("name", Parameters, needs=("old_log_prob",))`. Transforms only see quantities of the
old policy and have no gradient; the policy loss that follows is any.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class WeightBatch:
    """A whole training batch. Fields that are None are those the chosen transform has no use for."""

    advantages: Tensor
    """`[B, T]` floating, of the base estimator."""
    response_mask: Tensor
    """`[B, T]`, > 0 marks valid tokens. Values elsewhere are ignored, and rows without any stand in no group."""
    correct: Tensor
    """`[B]` bool, verified answers."""
    prompt_index: Tensor
    """`[B]` int64 in 0..P-1, the prompt of every response."""
    old_log_prob: Tensor | None = None
    """`[B, T]`, log-probability of the sampled tokens under the old policy."""
    rollout_log_prob: Tensor | None = None
    """`[B, T]`, the same as the sampler reported it."""
    entropy: Tensor | None = None
    """`[B, T]`, entropy of the old policy in nats."""
    score: Tensor | None = None
    """`[B, T]`, `Scores.score`."""
    anchor: Tensor | None = None
    """`[B]`, `Scores.anchor`."""
    margin: Tensor | None = None
    """`[B, T]`, `token_margins`."""

    def __post_init__(self) -> None:
        shape = self.advantages.shape
        for field in fields(self):
            value = getattr(self, field.name)
            expected = shape[:1] if field.name in ("correct", "prompt_index", "anchor") else shape
            if value is not None and value.shape != expected:
                raise ValueError(f"{field.name} must have shape {tuple(expected)}, got {tuple(value.shape)}")
        if self.correct.dtype != torch.bool:
            raise ValueError(f"correct must be bool, got {self.correct.dtype}; binarise_acc makes it")

    @property
    def valid(self) -> Tensor:
        """`[B, T]` bool."""
        return self.response_mask > 0

    @property
    def counted(self) -> Tensor:
        """`[B]` bool, responses with at least one valid token."""
        return self.valid.any(-1)

    def need(self, name: str) -> Tensor:
        """The field, with valid values only (0 elsewhere); ValueError if it is None."""
        value = getattr(self, name)
        if value is None:
            raise ValueError(f"this advantage transform needs the field {name!r}, which the batch does not have")
        return value.where(self.valid, 0) if value.dim() == 2 else value

    def prompt_sum(self, value: Tensor) -> Tensor:
        """`[B]`: sum of `value` `[B]` over the counted responses of the row's prompt, in float64."""
        size = int(self.prompt_index.max()) + 1 if self.prompt_index.numel() else 0
        sums = torch.zeros(size, dtype=torch.float64, device=value.device)
        return sums.index_add_(0, self.prompt_index, value.double().where(self.counted, 0))[self.prompt_index]

    @property
    def group_size(self) -> Tensor:
        """`[B]` float64, counted responses of the row's prompt; 1 where there are none."""
        return self.prompt_sum(torch.ones_like(self.correct)).clamp(min=1)

    @property
    def pass_rate(self) -> Tensor:
        """`[B]` float64, share of correct ones among the counted responses of the row's prompt."""
        return self.prompt_sum(self.correct) / self.group_size

    def with_rows(self, advantage: Tensor) -> Tensor:
        """One value per response `[B]` on all its valid tokens, in the dtype of the advantages; 0 elsewhere."""
        return advantage.to(self.advantages.dtype)[:, None].expand_as(self.advantages).where(self.valid, 0)


Need = Literal["old_log_prob", "rollout_log_prob", "entropy", "score", "anchor", "margin"]
Weight = Callable[[WeightBatch, Any], Tensor]
WeightMetrics = Callable[[WeightBatch, Any], dict[str, float]]


class _Registered(NamedTuple):
    weight: Weight
    parameters: type
    needs: tuple[Need, ...]
    metrics: WeightMetrics | None


_WEIGHTS: dict[str, _Registered] = {}

NO_WEIGHT = "none"
"""The name in a configuration that leaves the advantages as they are."""


def register_weight(
    name: str, parameters: type, needs: tuple[Need, ...] = (), metrics: WeightMetrics | None = None
) -> Callable[[Weight], Weight]:
    """Decorator that makes a transform available as `weights: {name: <name>, parameters: ...}`.

    Args:
        name: what a configuration calls it.
        parameters: its frozen dataclass.
        needs: the optional fields of `WeightBatch` that it reads.
        metrics: what it has to say of a batch besides the advantages.

    Raises:
        ValueError: if the name is taken.
    """

    def decorate(weight: Weight) -> Weight:
        if name in _WEIGHTS or name == NO_WEIGHT:
            raise ValueError(f"weight {name!r} is already registered")
        _WEIGHTS[name] = _Registered(weight, parameters, needs, metrics)
        return weight

    return decorate


def weight_names() -> tuple[str, ...]:
    """Names of all registered transforms."""
    return tuple(_WEIGHTS)


@dataclass(frozen=True)
class WeightConfig:
    """A transform by name, with its checked parameters. Build it with `from_mapping`."""

    name: str
    parameters: Any

    @classmethod
    def from_mapping(cls, name: str, parameters: Mapping[str, Any] | None = None) -> "WeightConfig":
        """Build from a name and a plain mapping.

        Raises:
            ValueError: naming the field and the valid ones, for unknown names, unknown or missing parameters and
                values out of range.
        """
        if not isinstance(name, str) or name not in _WEIGHTS:
            raise ValueError(f"unknown weight {name!r}. Valid weights: {', '.join((NO_WEIGHT, *weight_names()))}")
        made_of = _WEIGHTS[name].parameters
        valid = [field.name for field in fields(made_of)]
        given = dict(parameters or {})
        unknown = [key for key in given if key not in valid]
        missing = [field.name for field in fields(made_of) if field.default is MISSING and field.name not in given]
        if unknown or missing:
            raise ValueError(
                f"parameters of weight {name!r}: unknown {unknown}, missing {missing}. "
                f"Valid keys: {', '.join(valid) or 'none'}"
            )
        try:
            return cls(name, made_of(**given))
        except ValueError as error:
            raise ValueError(f"parameters of weight {name!r}: {error}") from error

    @torch.no_grad()
    def __call__(self, batch: WeightBatch) -> Tensor:
        """Advantages `[B, T]` of the transform; 0 outside the response mask."""
        return _WEIGHTS[self.name].weight(batch, self.parameters).where(batch.valid, 0)

    @property
    def needs(self) -> tuple[Need, ...]:
        """The optional fields of `WeightBatch` that the transform reads."""
        return _WEIGHTS[self.name].needs

    @property
    def score_options(self) -> dict[str, Any] | None:
        """What the old-policy pass is asked for: arguments of `influence_scores`, or `margins`; None for those that
        need neither."""
        return self.parameters.score_options if {"score", "margin"} & set(self.needs) else None

    @torch.no_grad()
    def metrics(self, batch: WeightBatch, advantages: Tensor) -> dict[str, float]:
        """The transform's own metrics; `weights/changed_frac`, the share of valid tokens with another advantage, and
        `weights/size_ratio`, the sum of |A| against the base estimator's.

        Args:
            batch: what the transform saw.
            advantages: what it returned.
        """
        base = batch.need("advantages")
        changed = (advantages != base) & batch.valid
        own = _WEIGHTS[self.name].metrics
        return {
            "weights/changed_frac": float(changed.sum() / batch.valid.sum().clamp(min=1)),
            "weights/size_ratio": float(advantages.abs().sum() / base.abs().sum()) if bool(base.any()) else 0.0,
        } | ({} if own is None else own(batch, self.parameters))


def check_number(parameters: Any, name: str, low: float, high: float) -> None:
    """Raise ValueError, naming the field, unless it is a number in [low, high]."""
    value = getattr(parameters, name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be a number in [{low}, {high}], got {value!r}")
