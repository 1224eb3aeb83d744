# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""HTPO on verl's V1 trainers: installs the loss, writes the groups, reduces the groups' metrics."""

from collections import defaultdict
from copy import deepcopy
from functools import partial
from typing import Any

import transfer_queue as tq
from omegaconf import open_dict
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_colocate_async import PPOTrainerColocateAsync
from verl.trainer.ppo.v1.trainer_separate_async import PPOTrainerSeparateAsync
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils.config import omega_conf_to_dataclass

from recipe.htpo.config import dump_config, objective_config
from recipe.htpo.objective import destruction_warning, metrics_from_sums
from recipe.htpo.seams.groups import split_tokens
from recipe.htpo.seams.influence import MODEL_TYPE
from recipe.htpo.seams.loss import GROUPS_FIELD, LOSS_MODE, SUMS_PREFIX, htpo_loss
from recipe.htpo.seams.responses import COUNTS, DroppedGroups, ResponseFacts
from recipe.htpo.seams.run_life import RunLifeMixin
from recipe.htpo.seams.tokens import BASE_FIELD, DUMP_FIELD, TokenDump
from recipe.htpo.seams.validation import ValidationMixin
from recipe.htpo.seams.weighing import WeightsMixin

# verl compares `trainer_mode` with these strings (verl/trainer/ppo/v1/trainer_base.py:153,731,902,...), so each
# trainer is registered under a name of its own and runs under verl's.
VERL_MODE = {
    "htpo_sync": "sync",
    "htpo_colocate_async": "colocate_async",
    "htpo_separate_async": "separate_async",
}


class HTPOTrainerMixin(RunLifeMixin, ValidationMixin, WeightsMixin):
    """What HTPO adds to a training step; mixed in before one of verl's trainers."""

    def __init__(self, config: Any) -> None:
        mode = config.trainer.v1.trainer_mode
        with open_dict(config):
            config.trainer.v1.trainer_mode = VERL_MODE.get(mode, mode)
            if config.algorithm.adv_estimator == "htpo":
                # The same advantage, under the name for which verl compares the final outputs of sessions only.
                config.algorithm.adv_estimator = "grpo"
            # verl's engines, with a heartbeat and the scores of `objective.weights`.
            config.actor_rollout_ref.model.model_type = MODEL_TYPE
        self.objective = objective_config(config)
        self._counts: dict[str, float] = defaultdict(float)
        super().__init__(config)

    def on_init_end(self) -> None:
        actor_config = deepcopy(omega_conf_to_dataclass(self.config.actor_rollout_ref.actor))
        self.tokens = TokenDump(
            dump_config(self.config),
            self.objective,
            self.config.htpo.output_dir,
            self.tokenizer,
            batches_per_step=getattr(self, "parameter_sync_step", 1),
        )
        dump_to = self.tokens.run_dir if self.tokens.config.steps else None
        self.actor_rollout_wg.set_loss_fn(partial(htpo_loss, actor_config, self.objective, dump_to=dump_to))
        print(f"HTPO objective: {self.objective.to_mapping()}", flush=True)
        super().on_init_end()

    def step(self, metrics: dict, timing_raw: dict) -> KVBatchMeta:
        self._counts.clear()
        batch = super().step(metrics, timing_raw)
        # verl averages over the mini-batches of a step (verl/trainer/ppo/v1/utils.py, MetricsAggregator).
        metrics.update(self._counts)
        return batch

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        # Read before verl's rollout correction rejects tokens by writing another mask: difficulty and groups belong to
        # what was generated.
        fields = ["uid", "extra_fields", "response_mask"]
        fields += ["entropy"] if self.objective.entropy_source == "old" else []
        data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
        batch = super()._compute_advantage(batch, metrics)
        facts = ResponseFacts.of_batch(batch, data)
        dropped = DroppedGroups.read(metrics) if self.config.algorithm.filter_groups.metric == "acc" else None
        hard, prompt_metrics = facts.difficulty(self.objective, self.config.actor_rollout_ref.rollout.n, dropped)
        metrics.update(prompt_metrics)
        for name in COUNTS:
            self._counts[name] += prompt_metrics[name]
        metrics.update(facts.reward_metrics())
        groups, entropy_metrics = split_tokens(data, hard, facts.correct, self.objective)
        metrics.update(entropy_metrics)
        fields = TensorDict({GROUPS_FIELD: groups}, batch_size=len(batch))
        if rows := self.tokens.choose(self.global_steps, facts):
            texts = tq.kv_batch_get(
                keys=[batch.keys[row] for row in rows],
                partition_id=batch.partition_id,
                select_fields=["uid", "data_source", "prompts", "responses"],
            )
            fields[DUMP_FIELD] = self.tokens.mark(self.global_steps, rows, facts, hard, texts)
            if self.base_advantages is not None:
                fields[BASE_FIELD] = self.base_advantages
        return tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=fields)

    def _update_actor(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        batch = super()._update_actor(batch, metrics)
        prefix = "actor/" + SUMS_PREFIX
        sums = {name.removeprefix(prefix): metrics.pop(name) for name in list(metrics) if name.startswith(prefix)}
        if self.config.actor_rollout_ref.actor.policy_loss.loss_mode != LOSS_MODE:
            return batch
        if not sums:
            raise RuntimeError("the actor update returned no group sums: the HTPO loss is not the one that ran")
        metrics.update(metrics_from_sums(sums))
        self.tokens.collect(self.global_steps)
        warning = destruction_warning(metrics)
        if warning:
            print(warning, flush=True)
        return batch


@register_trainer("htpo_sync")
class HTPOTrainerSync(HTPOTrainerMixin, PPOTrainerSync):
    """HTPO on verl's synchronous colocated trainer."""


# Both asynchronous trainers recompute the old policy's log-probabilities and entropy when a batch is taken, whatever
# policies generated it, and take complete groups only: verl replaces a prompt of which a rollout failed. How stale a
# response may be: `trainer.v1.<mode>.num_warmup_batches` are generated ahead; a prompt older than
# `trainer.v1.sampler.max_off_policy_threshold` policies is dropped or waited for (`max_off_policy_strategy`);
# `algorithm.rollout_correction.rollout_is=token` weights a token by how far the policies have come apart.
# `training/off_policy/*` has what came of it.


@register_trainer("htpo_colocate_async")
class HTPOTrainerColocateAsync(HTPOTrainerMixin, PPOTrainerColocateAsync):
    """HTPO on verl's colocated trainer with partial rollouts: generation goes on where the last step stopped it."""


@register_trainer("htpo_separate_async")
class HTPOTrainerSeparateAsync(HTPOTrainerMixin, PPOTrainerSeparateAsync):
    """HTPO on verl's trainer with rollout servers on GPUs of their own; each mini-batch is taken as it is complete.

    Shares under `htpo/*` are means over a step's mini-batches, numbers of prompts and rows are sums. Weights
    travel by an engine that needs accelerators, so this trainer has been made and checked without them, and never been
    run.
    """
