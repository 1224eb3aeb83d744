# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Advantages weighted by token influence: THR (arXiv 2510.03669) and NTHR (arXiv 2505.18830).

Both compare the scores of `influence_scores` with tau = beta * (smallest anchor of the prompt's correct responses).
Prompts whose responses are all correct or all wrong keep their advantages.
"""

import sys
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from recipe.htpo.objective.weights.registry import WeightBatch, check_number, register_weight
from recipe.htpo.objective.weights.scores import Vocab

_LARGEST = sys.float_info.max
Eta = Literal["distance", "pass_rate", "fail_rate"]


@dataclass(frozen=True, kw_only=True)
class ThrParameters:
    """THR, from scores made with `length_normalised=True`."""

    p: float
    """Tilt in (-1, 1): above 0 exploits (greedy accuracy), below 0 explores (pass@k), 0 only drops tokens."""
    beta: float = 1.0
    """Factor of tau. The paper's own value is not public."""
    vocab: Vocab = "vstar"
    """Columns of the scores (`influence_scores`)."""
    anchor_exclude_self: bool = False
    """Leave a response's own tokens out of its anchor (`influence_scores`)."""

    def __post_init__(self) -> None:
        check_number(self, "p", -1, 1)
        if abs(self.p) == 1:
            raise ValueError(f"p must be strictly between -1 and 1, got {self.p}: it would zero the tokens of one sign")
        _check_tau(self)

    @property
    def score_options(self) -> dict[str, Any]:
        """Arguments of `influence_scores`."""
        return _score_options(self, length_normalised=True)


@dataclass(frozen=True, kw_only=True)
class NthrParameters:
    """NTHR, from scores made with `length_normalised=False`."""

    eta: float | str = "distance"
    """Factor of selected tokens: `distance` 2 |0.5 - p| with p the prompt's pass rate (the paper's main setting),
    `pass_rate` p, `fail_rate` 1 - p, or a number in [0, 1]."""
    beta: float = 1.0
    """Factor of tau."""
    vocab: Vocab = "vstar"
    """Columns of the scores (`influence_scores`)."""
    anchor_exclude_self: bool = False
    """Leave a response's own tokens out of its anchor (`influence_scores`)."""

    def __post_init__(self) -> None:
        if isinstance(self.eta, str):
            if self.eta not in get_args(Eta):
                raise ValueError(f"eta is {self.eta!r}. Valid values: {', '.join(get_args(Eta))}, or a number")
        else:
            check_number(self, "eta", 0, 1)
        _check_tau(self)

    @property
    def score_options(self) -> dict[str, Any]:
        """Arguments of `influence_scores`."""
        return _score_options(self, length_normalised=False)


def _score_options(parameters: ThrParameters | NthrParameters, *, length_normalised: bool) -> dict[str, Any]:
    return {
        "length_normalised": length_normalised,
        "vocab": parameters.vocab,
        "anchor_exclude_self": parameters.anchor_exclude_self,
    }


def _check_tau(parameters: ThrParameters | NthrParameters) -> None:
    check_number(parameters, "beta", -_LARGEST, _LARGEST)
    if parameters.vocab not in get_args(Vocab):
        raise ValueError(f"vocab is {parameters.vocab!r}. Valid values: {', '.join(get_args(Vocab))}")
    if not isinstance(parameters.anchor_exclude_self, bool):
        raise ValueError(f"anchor_exclude_self must be true or false, got {parameters.anchor_exclude_self!r}")


class _Terms(NamedTuple):
    mixed: Tensor
    """`[B]` bool, the prompt has correct and wrong responses."""
    tau: Tensor
    """`[B]`, of the prompt; 0 where it is not mixed."""


def _terms(batch: WeightBatch, beta: float) -> _Terms:
    anchor = batch.need("anchor")
    solved = batch.prompt_sum(batch.correct)
    mixed = batch.counted & (solved > 0) & (solved < batch.group_size)
    anchored = mixed & batch.correct
    if bool((anchored & anchor.isnan()).any()):
        raise ValueError("anchor is NaN for correct responses of mixed prompts: their scores were not computed")
    size = int(batch.prompt_index.max()) + 1 if batch.prompt_index.numel() else 0
    smallest = anchor.new_full((size,), torch.inf)
    smallest.scatter_reduce_(0, batch.prompt_index, anchor.where(anchored, torch.inf), "amin")
    return _Terms(mixed, (beta * smallest[batch.prompt_index]).where(mixed, 0))


def thr_scores(batch: WeightBatch) -> Tensor:
    """THR_t `[B, T]`: the score, with the opposite sign on the tokens of wrong responses."""
    score = batch.need("score")
    return torch.where(batch.correct[:, None], score, -score)


def _kept(batch: WeightBatch, parameters: ThrParameters) -> tuple[Tensor, _Terms]:
    terms = _terms(batch, parameters.beta)
    # Every comparison is made in the dtype of the scores.
    return batch.need("score").abs() > terms.tau[:, None], terms


@torch.no_grad()
def thr_metrics(batch: WeightBatch, parameters: ThrParameters) -> dict[str, float]:
    """`thr/kept_frac` and `thr/pos_frac` (THR > 0) of the tokens of mixed prompts, `thr/tau` and
    `thr/tau_negative_rate`, means over mixed prompts. Without mixed prompts all are 0."""
    kept, terms = _kept(batch, parameters)
    inside = terms.mixed[:, None] & batch.valid
    return {
        "thr/kept_frac": _share(kept, inside),
        "thr/pos_frac": _share(thr_scores(batch) > 0, inside),
        "thr/tau": _prompt_mean(batch, terms.tau, terms.mixed),
        "thr/tau_negative_rate": _prompt_mean(batch, terms.tau < 0, terms.mixed),
    }


@register_weight("thr", ThrParameters, needs=("score", "anchor"), metrics=thr_metrics)
def thr_weight(batch: WeightBatch, parameters: ThrParameters) -> Tensor:
    """A <- 1[|THR| > tau] (1 + sign(THR) p) A."""
    kept, terms = _kept(batch, parameters)
    weight = kept * (1 + thr_scores(batch).sign() * parameters.p)
    return batch.advantages * weight.where(terms.mixed[:, None], 1).to(batch.advantages.dtype)


def _selected(batch: WeightBatch, parameters: NthrParameters) -> tuple[Tensor, _Terms]:
    terms = _terms(batch, parameters.beta)
    open_to_choice = (terms.mixed & ~batch.correct)[:, None] & batch.valid
    return open_to_choice & (batch.need("score") > terms.tau[:, None]), terms


def _eta(batch: WeightBatch, parameters: NthrParameters) -> Tensor:
    p = batch.pass_rate
    match parameters.eta:
        case "distance":
            return 2 * (0.5 - p).abs()
        case "pass_rate":
            return p
        case "fail_rate":
            return 1 - p
        case number:
            return torch.full_like(p, float(number))


@torch.no_grad()
def nthr_metrics(batch: WeightBatch, parameters: NthrParameters) -> dict[str, float]:
    """`nthr/selected_frac` of the tokens of wrong responses of mixed prompts; `nthr/eta`, `nthr/tau` and
    `nthr/tau_negative_rate`, means over mixed prompts. Without mixed prompts all are 0."""
    selected, terms = _selected(batch, parameters)
    return {
        "nthr/selected_frac": _share(selected, (terms.mixed & ~batch.correct)[:, None] & batch.valid),
        "nthr/eta": _prompt_mean(batch, _eta(batch, parameters), terms.mixed),
        "nthr/tau": _prompt_mean(batch, terms.tau, terms.mixed),
        "nthr/tau_negative_rate": _prompt_mean(batch, terms.tau < 0, terms.mixed),
    }


@register_weight("nthr", NthrParameters, needs=("score", "anchor"), metrics=nthr_metrics)
def nthr_weight(batch: WeightBatch, parameters: NthrParameters) -> Tensor:
    """A <- eta A on the tokens of wrong responses with s > tau."""
    selected, _ = _selected(batch, parameters)
    eta = _eta(batch, parameters).to(batch.advantages.dtype)[:, None]
    return torch.where(selected, eta * batch.advantages, batch.advantages)


def _share(part: Tensor, whole: Tensor) -> float:
    return float((part & whole).sum() / whole.sum().clamp(min=1))


def _prompt_mean(batch: WeightBatch, value: Tensor, mixed: Tensor) -> float:
    """Every prompt weighs one: each of its counted responses weighs 1/size."""
    weight = mixed / batch.group_size
    return float((weight * value).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny))
