# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The advantage transform of a lab run, from the sampling policy's own quantities."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from recipe.htpo.lab.fast_model import FastModel
from recipe.htpo.objective.weights import Head, PromptTokens, WeightBatch, WeightConfig, influence_scores, token_margins


def weighed(batch: Any, weights: WeightConfig | None, model: FastModel, responses: int) -> tuple[Any, dict[str, float]]:
    """The batch with the advantages of the transform, and its metrics.

    Args:
        batch: the loop's batch: a dataclass of `B` responses, prompt by prompt.
        weights: the transform; None leaves the batch as it is.
        model: the policy that sampled. What samples here is what trains, so the batch's log-probabilities are the old
            policy's and the sampler's.
        responses: samples of each prompt.
    """
    if weights is None:
        return batch, {}
    score = anchor = margin = None
    if "margin" in weights.needs:
        head = Head(model.model.lm_head.weight.detach())
        margin = torch.zeros(batch.mask.shape).masked_scatter(
            batch.mask, token_margins(*model.head_inputs(batch.samples), head)
        )
    elif weights.score_options is not None:
        score, anchor = _scores(batch, weights.score_options, model, responses)
    given = WeightBatch(
        advantages=batch.advantages,
        response_mask=batch.mask,
        correct=batch.correct,
        prompt_index=torch.arange(len(batch.samples)) // responses,
        old_log_prob=batch.old_log_probs,
        rollout_log_prob=batch.old_log_probs,
        entropy=batch.entropy,
        score=score,
        anchor=anchor,
        margin=margin,
    )
    advantages = weights(given)
    weighed_batch = replace(batch, advantages=advantages, base_advantages=batch.advantages, score=score)
    return weighed_batch, weights.metrics(given, advantages)


def _scores(batch: Any, options: dict[str, Any], model: FastModel, responses: int) -> tuple[Tensor, Tensor]:
    """Scores `[B, T]` and anchors `[B]`."""
    head = Head(model.model.lm_head.weight.detach())
    scores, anchors = [], []
    for start in range(0, len(batch.samples), responses):
        chosen = slice(start, start + responses)
        hidden, tokens = model.head_inputs(batch.samples[chosen])
        response = torch.arange(responses).repeat_interleave(batch.mask[chosen].sum(-1))
        result = influence_scores(PromptTokens(hidden, tokens, response, batch.correct[chosen]), head, **options)
        scores.append(result.score)
        anchors.append(result.anchor)
    return torch.zeros(batch.mask.shape).masked_scatter(batch.mask, torch.cat(scores)), torch.cat(anchors)
