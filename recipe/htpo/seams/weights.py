# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The advantage transform of a training batch: from verl's fields to the jagged field `advantages`.

It takes the place of the base estimator's, so every policy loss works with it, the table of objectives and verl's own
alike.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from verl.workers.utils.padding import response_to_nested

from recipe.htpo.objective.weights import WeightBatch, WeightConfig
from recipe.htpo.seams.influence import ANCHOR_FIELD, MARGIN_FIELD, SCORE_FIELD
from recipe.htpo.seams.responses import ResponseFacts

# Field of a `WeightBatch` -> verl's field that it is read from.
FIELDS = {
    "old_log_prob": "old_log_probs",
    "rollout_log_prob": "rollout_log_probs",
    "entropy": "entropy",
    "score": SCORE_FIELD,
    "anchor": ANCHOR_FIELD,
    "margin": MARGIN_FIELD,
}


def weight_fields(weights: WeightConfig) -> list[str]:
    """verl's names of the fields that `weigh` reads."""
    return ["advantages", *(FIELDS[name] for name in weights.needs)]


@torch.no_grad()
def weigh(
    weights: WeightConfig, data: Mapping[str, Any], response_mask: Tensor, facts: ResponseFacts
) -> tuple[Tensor, dict[str, float]]:
    """Advantages of the transform, jagged over response tokens, and its metrics.

    Args:
        weights: the transform.
        data: `weight_fields`, jagged, `[B]` where a response has one value.
        response_mask: jagged, as the responses were generated: statistics are of what was sampled.
        facts: prompt and correctness of every row. Rows that are not counted keep their advantages.

    Raises:
        ValueError: a rollout has several outputs: what one of them adds to its prompt is not defined here.
    """
    mask = response_mask.to_padded_tensor(0)
    if bool((~facts.counted & ~facts.padding & (mask > 0).any(-1)).any()):
        raise ValueError(
            f"objective.weights={weights.name} knows one output per rollout, and this batch has rollouts of several "
            "(a multi-output agent loop). Set objective.weights.name=none"
        )
    counted = mask * facts.counted[:, None]
    fields = {name: _padded(data[FIELDS[name]], mask) for name in weights.needs}
    base = _padded(data["advantages"], mask)
    batch = WeightBatch(
        advantages=base,
        response_mask=counted,
        correct=facts.correct,
        prompt_index=facts.prompt_index,
        **fields,
    )
    advantages = weights(batch)
    metrics = weights.metrics(batch, advantages)
    return response_to_nested(torch.where(facts.counted[:, None], advantages, base), response_mask), metrics


def _padded(value: Tensor, mask: Tensor) -> Tensor:
    return value.to_padded_tensor(0, output_size=mask.shape) if value.is_nested else value
