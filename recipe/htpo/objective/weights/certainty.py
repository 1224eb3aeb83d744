# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Intuitor (arXiv 2505.19590): the old policy's certainty of a response as its reward, in place of the verifier's.

Self-certainty of a token's distribution is KL(uniform || q) = logsumexp(z) - mean(z) - log V over the logits z. With
the sampled token's margin m = z_y - mean(z), which needs its own row of the LM head and the mean row, the first two
terms are m - log q_y: no pass over the vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recipe.htpo.objective.weights.reductions import Reductions
from recipe.htpo.objective.weights.registry import WeightBatch, register_weight
from recipe.htpo.objective.weights.scores import Head

_GRPO_EPS = 1e-6


@torch.no_grad()
def token_margins(
    hidden: Tensor, token: Tensor, head: Head, *, token_chunk: int = 1024, reductions: Reductions | None = None
) -> Tensor:
    """The logit of every token less the mean of its logits over the vocabulary.

    Args:
        hidden: `[T, d]` floating, input of the LM head at the position that predicts the token.
        token: `[T]` int64, ids in the whole vocabulary.
        head: the LM head's rows here.
        token_chunk: tokens whose rows of the head exist at one time.
        reductions: sums over shards of the vocabulary, which hold the same tokens.

    Returns:
        `[T]`, fp32, or fp64 where the states are fp64.
    """
    reduce = reductions or Reductions()
    dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    rows = head.weight.shape[0]
    count = reduce.vocab_sum(torch.tensor([rows], dtype=dtype, device=hidden.device))
    mean = reduce.vocab_sum(head.weight.sum(0, dtype=dtype)) / count
    local = token - head.first
    here = (local >= 0) & (local < rows)
    own = torch.zeros(token.shape, dtype=dtype, device=hidden.device)
    average = torch.zeros_like(own)
    for chunk in torch.arange(token.numel(), device=token.device).split(token_chunk):
        states = hidden[chunk].to(dtype)
        logits = (states * head.weight[local[chunk].clamp(0, rows - 1)].to(dtype)).sum(-1)
        own[chunk] = logits.where(here[chunk], 0)
        average[chunk] = states @ mean
    return (reduce.vocab_sum(own) - average) / head.temperature


@dataclass(frozen=True, kw_only=True)
class IntuitorParameters:
    """Intuitor has none."""

    @property
    def score_options(self) -> dict[str, Any]:
        """What the old-policy pass is asked for: `token_margins` in place of `influence_scores`."""
        return {"margins": True}


def self_certainty(batch: WeightBatch) -> Tensor:
    """`[B]` float64, mean over a response of logsumexp(z) - mean(z), in nats: self-certainty plus log V."""
    certainty = (batch.need("margin").double() - batch.need("old_log_prob").double()).where(batch.valid, 0)
    return certainty.sum(-1) / batch.valid.sum(-1).clamp(min=1)


def intuitor_metrics(batch: WeightBatch, parameters: IntuitorParameters) -> dict[str, float]:
    """`intuitor/self_certainty`, its mean over responses, and `intuitor/correct_minus_wrong`, that of the verified ones
    less that of the others: above 0 the reward agrees with the verifier. 0 where there are none."""
    certainty = self_certainty(batch)
    right, wrong = (certainty[batch.counted & side] for side in (batch.correct, ~batch.correct))
    both = right.numel() > 0 and wrong.numel() > 0
    return {
        "intuitor/self_certainty": float(certainty[batch.counted].mean()) if bool(batch.counted.any()) else 0.0,
        "intuitor/correct_minus_wrong": float(right.mean() - wrong.mean()) if both else 0.0,
    }


@register_weight("intuitor", IntuitorParameters, needs=("margin", "old_log_prob"), metrics=intuitor_metrics)
def intuitor(batch: WeightBatch, parameters: IntuitorParameters) -> Tensor:
    """A = (r - mean) / (std + 1e-6) over the prompt's responses, r the self-certainty; 0 where all have the same.

    The standard deviation is verl's for GRPO, unbiased. Verified answers and base advantages are ignored.
    """
    reward, size = self_certainty(batch), batch.group_size
    centred = reward - batch.prompt_sum(reward) / size
    std = (batch.prompt_sum(centred.square()) / (size - 1).clamp(min=1)).sqrt()
    return batch.with_rows(centred / (std + _GRPO_EPS))
