# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The advantage transform of a training batch, between verl's old-policy pass and its update.

It overwrites the jagged field `advantages` of the base estimator, so every policy loss works with it, the table of
objectives and verl's own alike.
"""

from collections.abc import Mapping
from typing import Any

import torch
import transfer_queue as tq
from omegaconf import open_dict
from tensordict import TensorDict
from torch import Tensor
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.workers.utils.padding import response_to_nested

from recipe.htpo.config import objective_config
from recipe.htpo.objective.weights import WeightBatch, WeightConfig
from recipe.htpo.seams.influence import (
    ANCHOR_FIELD,
    CORRECT_FIELD,
    MODEL_TYPE,
    OPTIONS,
    PROMPT_FIELD,
    SCORE_FIELD,
    SECONDS_FIELD,
)
from recipe.htpo.seams.responses import ResponseFacts

# Field of a `WeightBatch` -> verl's field that it is read from.
FIELDS = {
    "old_log_prob": "old_log_probs",
    "rollout_log_prob": "rollout_log_probs",
    "entropy": "entropy",
    "score": SCORE_FIELD,
    "anchor": ANCHOR_FIELD,
}


class WeightsMixin(PPOTrainer):
    """Mixed in before one of verl's trainers; without `objective.weights` it changes nothing."""

    def __init__(self, config: Any) -> None:
        self._weights = objective_config(config).weights
        self._score_options = None if self._weights is None else self._weights.score_options
        if self._score_options is not None:
            with open_dict(config):
                config.actor_rollout_ref.model.model_type = MODEL_TYPE
        super().__init__(config)

    def _compute_old_log_prob(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        if self._score_options is None:
            return super()._compute_old_log_prob(batch, metrics)
        facts = ResponseFacts.of_batch(batch, _get(batch, "uid", "extra_fields", "response_mask"))
        extra_info = dict(batch.extra_info)
        prompt = torch.where(facts.counted, facts.prompt_index, -1)
        batch = _put(batch, {PROMPT_FIELD: prompt, CORRECT_FIELD: facts.correct})
        batch.extra_info.update(extra_info | {OPTIONS: self._score_options})
        batch = super()._compute_old_log_prob(batch, metrics)
        # The options are for this pass alone.
        batch.extra_info.pop(OPTIONS, None)
        return batch

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        if self._weights is None:
            return super()._compute_advantage(batch, metrics)
        # Read before verl's rollout correction rejects tokens by writing another mask: statistics are of what was
        # sampled.
        sampled = _get(batch, "uid", "extra_fields", "response_mask")
        batch = super()._compute_advantage(batch, metrics)
        data = _get(batch, *weight_fields(self._weights), *([SECONDS_FIELD] if self._score_options else []))
        facts = ResponseFacts.of_batch(batch, sampled)
        advantages, weight_metrics = weigh(self._weights, data, sampled["response_mask"], facts)
        metrics.update(weight_metrics)
        if self._score_options is not None:
            metrics["thr/time"] = float(data[SECONDS_FIELD].max())
        return _put(batch, {"advantages": advantages})


def _get(batch: KVBatchMeta, *fields: str) -> TensorDict:
    return tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=list(fields))


def _put(batch: KVBatchMeta, fields: dict[str, Tensor]) -> KVBatchMeta:
    written = TensorDict(fields, batch_size=len(batch))
    return tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=written)


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
