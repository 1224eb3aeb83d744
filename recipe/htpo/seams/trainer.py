# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""HTPO on verl's V1 trainers: installs the loss, writes the groups, reduces the groups' metrics."""

from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transfer_queue as tq
from omegaconf import open_dict
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.trainer_base import PPOTrainer, register_trainer
from verl.trainer.ppo.v1.trainer_colocate_async import PPOTrainerColocateAsync
from verl.trainer.ppo.v1.trainer_separate_async import PPOTrainerSeparateAsync
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils.config import omega_conf_to_dataclass

from recipe.htpo.config import objective_config
from recipe.htpo.objective import destruction_warning, metrics_from_sums
from recipe.htpo.run.checkpoints import prune
from recipe.htpo.run.metrics_log import write_saved_step
from recipe.htpo.run.watchdog import Watchdog
from recipe.htpo.seams.groups import split_tokens
from recipe.htpo.seams.loss import GROUPS_FIELD, SUMS_PREFIX, htpo_loss
from recipe.htpo.seams.responses import DroppedGroups, ResponseFacts

# verl compares `trainer_mode` with these strings (verl/trainer/ppo/v1/trainer_base.py:153,731,902,...), so each
# trainer is registered under a name of its own and runs under verl's.
VERL_MODE = {
    "htpo_sync": "sync",
    "htpo_colocate_async": "colocate_async",
    "htpo_separate_async": "separate_async",
}


class HTPOTrainerMixin(PPOTrainer):
    """What HTPO adds to a training step; mixed in before one of verl's trainers."""

    def __init__(self, config: Any) -> None:
        mode = config.trainer.v1.trainer_mode
        with open_dict(config):
            config.trainer.v1.trainer_mode = VERL_MODE.get(mode, mode)
            if config.algorithm.adv_estimator == "htpo":
                # The same advantage, under the name for which verl compares the final outputs of sessions only.
                config.algorithm.adv_estimator = "grpo"
        self.objective = objective_config(config)
        self.watchdog = Watchdog(timeout_s=config.htpo.watchdog_timeout_s)
        self.watchdog.start("the start of the workers and the rollout servers")
        self._refilled_prompts = 0
        self._step_metrics: dict[str, Any] = {}
        super().__init__(config)
        if config.htpo.replay_poll_interval_s is not None:
            self.replay_buffer.poll_interval = config.htpo.replay_poll_interval_s

    def on_init_end(self) -> None:
        actor_config = deepcopy(omega_conf_to_dataclass(self.config.actor_rollout_ref.actor))
        self.actor_rollout_wg.set_loss_fn(partial(htpo_loss, actor_config, self.objective))
        print(f"HTPO objective: {self.objective.to_mapping()}", flush=True)
        self.watchdog.beat("the first weight synchronisation")
        super().on_init_end()
        self.watchdog.beat("the validation before training")

    def on_step_begin(self) -> None:
        super().on_step_begin()
        self._refilled_prompts = 0
        self.watchdog.beat(f"generation of step {self.global_steps}")

    def on_sample_end(self) -> None:
        super().on_sample_end()
        self.watchdog.beat(f"log-probabilities and update of step {self.global_steps}")

    def on_step_end(self) -> None:
        self.watchdog.beat(f"weight synchronisation after step {self.global_steps}")
        super().on_step_end()
        self.watchdog.beat(f"the end of step {self.global_steps}")

    def on_validate_begin(self) -> None:
        super().on_validate_begin()
        self.watchdog.beat(f"validation at step {self.global_steps}")

    def on_validate_end(self) -> None:
        super().on_validate_end()
        self.watchdog.beat(f"the step after validation {self.global_steps}")

    def step(self, metrics: dict, timing_raw: dict) -> KVBatchMeta:
        batch = super().step(metrics, timing_raw)
        self._step_metrics = dict(metrics)
        return batch

    def _save_checkpoint(self) -> None:
        settings = self.config.trainer
        checkpoint = Path(settings.default_local_dir) / f"global_step_{self.global_steps}"
        write_saved_step(checkpoint, self.global_steps, self._step_metrics)
        super()._save_checkpoint()
        keep = settings.max_actor_ckpt_to_keep
        if self.use_critic and keep:
            keep = max(keep, settings.max_critic_ckpt_to_keep) if settings.max_critic_ckpt_to_keep else None
        # An asynchronous save is not whole yet.
        if keep and not self.config.actor_rollout_ref.actor.checkpoint.async_save:
            prune(settings.default_local_dir, keep, self.global_steps)

    def _add_prompts_to_generate(self, num_prompts: int) -> int:
        """Dynamic sampling's refill; honours `max_num_gen_batches`, which verl's V1 buffer ignores."""
        filter_groups = self.config.algorithm.filter_groups
        batch_size = self.config.data.train_batch_size
        limit = filter_groups.max_num_gen_batches
        generated = batch_size + self._refilled_prompts
        if filter_groups.enable and limit > 0 and generated + num_prompts > limit * batch_size:
            raise RuntimeError(
                f"dynamic sampling stopped at step {self.global_steps}: {generated} prompts were generated and fewer "
                f"than data.train_batch_size={batch_size} of their groups have different "
                f"`{filter_groups.metric}` values; the task is too easy or too hard for this model, or the verifier "
                f"is wrong. Raise algorithm.filter_groups.max_num_gen_batches (now {limit}), change the data, or set "
                "algorithm.filter_groups.enable=False"
            )
        self._refilled_prompts += num_prompts
        return super()._add_prompts_to_generate(num_prompts)

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        # Read before verl's rollout correction rejects tokens by writing another mask: difficulty and groups belong to
        # what was generated.
        fields = ["uid", "extra_fields", "response_mask"]
        fields += ["entropy"] if self.objective.entropy_source == "old" else []
        data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
        batch = super()._compute_advantage(batch, metrics)
        facts = ResponseFacts.read(
            keys=batch.keys,
            uids=list(data["uid"]),
            extra_fields=list(data["extra_fields"]),
            valid_tokens=torch.stack([row.sum() for row in data["response_mask"].unbind()]),
            padding=[bool(tag.get("is_padding", False)) for tag in batch.tags],
        )
        dropped = DroppedGroups.read(metrics) if self.config.algorithm.filter_groups.metric == "acc" else None
        hard, prompt_metrics = facts.difficulty(self.objective, self.config.actor_rollout_ref.rollout.n, dropped)
        metrics.update(prompt_metrics)
        metrics.update(facts.reward_metrics())
        groups, entropy_metrics = split_tokens(data, hard, facts.correct, self.objective)
        metrics.update(entropy_metrics)
        fields = TensorDict({GROUPS_FIELD: groups}, batch_size=len(batch))
        return tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=fields)

    def _update_actor(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        batch = super()._update_actor(batch, metrics)
        prefix = "actor/" + SUMS_PREFIX
        sums = {name.removeprefix(prefix): metrics.pop(name) for name in list(metrics) if name.startswith(prefix)}
        if not sums:
            raise RuntimeError("the actor update returned no group sums: the HTPO loss is not the one that ran")
        metrics.update(metrics_from_sums(sums))
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

    `htpo/*` of a step are means over its mini-batches. Weights travel by an engine that needs accelerators, so this
    trainer has been made and checked without them, and never been run.
    """
