# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What a run needs of verl's trainer to end with a reason and to go on where it was: watchdog, checkpoints, refills."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer
from verl.trainer.ppo.v1.trainer_base import PPOTrainer, _count_tq_prompt_groups

from recipe.htpo.run import heartbeat
from recipe.htpo.run.checkpoints import prune
from recipe.htpo.run.metrics_log import write_saved_step
from recipe.htpo.run.ray_cluster import PartsInUse
from recipe.htpo.run.stop import StopRequest, StopRequested
from recipe.htpo.run.watchdog import Watchdog
from recipe.htpo.seams.refills import CountsEvictions, RefillBudget, count_evictions, refuse_failed_rollouts


class RunLifeMixin(PPOTrainer):
    """Mixed in before one of verl's trainers; independent of the objective."""

    def __init__(self, config: Any) -> None:
        self.watchdog = Watchdog(config.htpo.watchdog_timeout_s, self._progress, PartsInUse().lost)
        self._refills: RefillBudget | None = None
        self._step_metrics: dict[str, Any] = {}
        self._stop = StopRequest(config.htpo.output_dir, config.htpo.deadline_margin_s)
        self._stop_reason: str | None = None
        super().__init__(config)
        if config.htpo.replay_poll_interval_s is not None:
            self.replay_buffer.poll_interval = config.htpo.replay_poll_interval_s

    def _progress(self) -> tuple[tuple[int, int], float]:
        """What changes while the trainer waits: responses and prompts that verl's replay buffer has seen, training and
        validation alike, and the last micro-batch of an engine or tokens of a rollout server. Of a custom sampler's
        buffer the latter only."""
        buffer = self.replay_buffer
        seen = buffer.seen if isinstance(buffer, CountsEvictions) else (0, 0)
        return seen, heartbeat.last(os.environ.get(heartbeat.VARIABLE))

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
        except StopRequested as stopped:
            self._shutdown_dump_executor()
            print(f"asked to stop: {stopped}; the same command continues", flush=True)
        finally:
            self.watchdog.stop()

    def on_init_end(self) -> None:
        self.watchdog.beat("the first weight synchronisation")
        super().on_init_end()
        self.watchdog.beat("the validation before training")

    def on_step_begin(self) -> None:
        self._stop.begin_step()
        if self._stop_reason is not None:
            # The step before has been saved, validated and recorded.
            self._stop.answer(self.global_steps - 1)
            raise StopRequested(f"{self._stop_reason}, step {self.global_steps - 1} is saved")
        super().on_step_begin()
        self._begin_refills()
        self.watchdog.beat(f"generation of step {self.global_steps}")

    def _begin_refills(self) -> None:
        filter_groups = self.config.algorithm.filter_groups
        if not filter_groups.enable:
            return
        if self._refills is None:
            limit, metric = filter_groups.max_num_gen_batches, filter_groups.metric
            self._refills = RefillBudget(limit, self.config.data.train_batch_size, metric)
        # The synchronous trainer discards what it does not take.
        carried = 0 if self.trainer_mode == "sync" else _count_tq_prompt_groups()
        self._refills.begin_step(carried, self._evicted())

    def on_sample_end(self) -> None:
        super().on_sample_end()
        if self._refills is not None:
            self._refills.taken += self.config.data.train_batch_size // self.parameter_sync_step
        self.watchdog.beat(f"log-probabilities and update of step {self.global_steps}")

    def on_step_end(self) -> None:
        self._stop_reason = self._stop.reason()
        save_freq = self.config.trainer.save_freq
        is_last = self.global_steps >= self.total_training_steps
        if self._stop_reason is not None and not is_last and (save_freq <= 0 or self.global_steps % save_freq):
            self._save_checkpoint()
        self.watchdog.beat(f"weight synchronisation after step {self.global_steps}")
        super().on_step_end()
        self.watchdog.beat(f"the end of step {self.global_steps}")

    def on_validate_begin(self) -> None:
        super().on_validate_begin()
        self.watchdog.beat(f"validation at step {self.global_steps}")

    def on_validate_end(self) -> None:
        super().on_validate_end()
        self.watchdog.beat(f"the step after validation {self.global_steps}")

    def _balance_batch(
        self, batch: KVBatchMeta, metrics: dict, logging_prefix: str = "global_seqlen", keep_minibatch: bool = False
    ) -> KVBatchMeta:
        # The first to see the batch as it was taken; what is missing is filled up with padding here.
        prompts = self.config.data.train_batch_size // self.parameter_sync_step
        expected = prompts * self.config.actor_rollout_ref.rollout.n
        refuse_failed_rollouts(batch.keys, expected, self.config.htpo.max_failed_rollouts, self.global_steps)
        return super()._balance_batch(batch, metrics, logging_prefix, keep_minibatch)

    def step(self, metrics: dict, timing_raw: dict) -> KVBatchMeta:
        batch = super().step(metrics, timing_raw)
        self._step_metrics = metrics
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

    def _build_replay_buffer(self) -> ReplayBuffer:
        return count_evictions(super()._build_replay_buffer())

    def _add_prompts_to_generate(self, num_prompts: int) -> int:
        """What the replay buffer asks for in place of evicted groups, as far as the step's budget goes.

        The batches that an asynchronous trainer generates ahead of its first step come this way too.
        """
        if self._refills is None:
            return super()._add_prompts_to_generate(num_prompts)
        known = len(self.replay_buffer.prompt_global_steps["train"])
        allowed = self._refills.allow(num_prompts, known, self.global_steps, self._evicted())
        return super()._add_prompts_to_generate(allowed) if allowed else 0

    def _evicted(self) -> Counter[str]:
        return self.replay_buffer.evicted if isinstance(self.replay_buffer, CountsEvictions) else Counter()
