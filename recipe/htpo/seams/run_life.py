# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What a run needs of verl's trainer to end with a reason and to go on where it was: watchdog, checkpoints, refills."""

import os
from pathlib import Path
from typing import Any

from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.trainer_base import PPOTrainer

from recipe.htpo.run import heartbeat
from recipe.htpo.run.checkpoints import prune
from recipe.htpo.run.metrics_log import write_saved_step
from recipe.htpo.run.watchdog import Watchdog


class RunLifeMixin(PPOTrainer):
    """Mixed in before one of verl's trainers; independent of the objective."""

    def __init__(self, config: Any) -> None:
        self.watchdog = Watchdog(timeout_s=config.htpo.watchdog_timeout_s, progress=self._progress)
        self._refilled_prompts = 0
        self._step_metrics: dict[str, Any] = {}
        super().__init__(config)
        if config.htpo.replay_poll_interval_s is not None:
            self.replay_buffer.poll_interval = config.htpo.replay_poll_interval_s

    def _progress(self) -> tuple[int, int, float]:
        """What changes while the trainer waits: responses and prompts that verl's replay buffer has seen, training and
        validation alike, and the last micro-batch of an update."""
        buffer = self.replay_buffer
        responses = sum(len(partition) for partition in list(buffer.partitions.values()))
        prompts = sum(len(keys) for keys in list(buffer.finished_keys.values()))
        return responses, prompts, heartbeat.last(os.environ.get(heartbeat.VARIABLE))

    def init(self) -> None:
        # Armed by the run, not by making a trainer.
        self.watchdog.start("the start of the workers and the rollout servers")
        try:
            super().init()
        except BaseException:
            self.watchdog.stop()
            raise

    def fit(self, agent_loop_manager: Any) -> None:
        try:
            super().fit(agent_loop_manager)
        finally:
            self.watchdog.stop()

    def on_init_end(self) -> None:
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
            prune(self.config, keep, self.global_steps)

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
