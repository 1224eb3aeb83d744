# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Where the trainer weighs advantages: what the old-policy pass is told, and what comes before the update."""

from typing import Any

import torch
import transfer_queue as tq
from tensordict import TensorDict
from torch import Tensor
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.trainer_base import PPOTrainer

from recipe.htpo.config import objective_config
from recipe.htpo.seams.influence import CORRECT_FIELD, OPTIONS, PROMPT_FIELD, SECONDS_FIELD
from recipe.htpo.seams.responses import ResponseFacts
from recipe.htpo.seams.weights import weigh, weight_fields


class WeightsMixin(PPOTrainer):
    """Mixed in before one of verl's trainers; without `objective.weights` it changes nothing."""

    base_advantages: Tensor | None = None
    """Jagged, those of the last batch before they were weighed; for the token dump."""

    def __init__(self, config: Any) -> None:
        self._weights = objective_config(config).weights
        self._score_options = None if self._weights is None else self._weights.score_options
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
        self.base_advantages = data["advantages"]
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
