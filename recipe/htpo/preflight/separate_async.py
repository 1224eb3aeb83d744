# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""`trainer.v1.trainer_mode=htpo_separate_async`: what verl asserts in its trainer, known before the start."""

from collections.abc import Iterator

from omegaconf import DictConfig

from recipe.htpo.preflight.problem import Problem

MODE = "htpo_separate_async"
ROLLOUT = "actor_rollout_ref.rollout"


def check_separate_async(config: DictConfig) -> Iterator[Problem]:
    """Rollout servers on GPUs of their own, a way to send them weights, and a batch of whole mini-batches."""
    if config.trainer.v1.trainer_mode != MODE:
        return
    if config.trainer.device == "cpu":
        yield Problem(
            "trainer.v1.trainer_mode",
            f"is {MODE}; every engine that verl has to send weights to separate servers (nccl, hccl, nixl, ...) needs "
            "an accelerator",
            "use htpo_sync or htpo_colocate_async on the CPU platform",
        )
        return
    rollout = config.actor_rollout_ref.rollout
    for name in ("nnodes", "n_gpus_per_node"):
        if rollout[name] <= 0:
            yield Problem(f"{ROLLOUT}.{name}", f"is {rollout[name]}; {MODE} serves on GPUs of their own", "set it")
    if rollout.checkpoint_engine.backend == "naive":
        yield Problem(
            f"{ROLLOUT}.checkpoint_engine.backend",
            "is naive, which cannot send weights to separate servers",
            "set nccl (needs cupy), nixl or another engine",
        )
    batch, mini_batch = config.data.train_batch_size, config.actor_rollout_ref.actor.ppo_mini_batch_size
    updates = config.trainer.v1.separate_async.parameter_sync_step
    if batch != updates * mini_batch:
        yield Problem(
            "data.train_batch_size",
            f"is {batch}; {MODE} takes trainer.v1.separate_async.parameter_sync_step ({updates}) mini-batches of "
            f"actor_rollout_ref.actor.ppo_mini_batch_size ({mini_batch}) prompts between two synchronisations",
            f"set it to {updates * mini_batch}, or change the others",
        )
