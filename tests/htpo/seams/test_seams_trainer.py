# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The trainer classes, as far as they go without a cluster."""

import threading

import numpy as np
import pytest
import torch
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage, get_adv_estimator_fn
from verl.trainer.ppo.v1 import PPOTrainer, PPOTrainerSync, get_trainer_cls
from verl.trainer.ppo.v1 import replay_buffer as verl_buffers
from verl.trainer.ppo.v1.replay_buffer import ReplayBufferAsync

from recipe.htpo.config import compose
from recipe.htpo.seams.influence import MODEL_TYPE
from recipe.htpo.seams.refills import CountingReplayBuffer, CountingReplayBufferAsync
from recipe.htpo.seams.responses import COUNTS

# Rollout servers on GPUs of their own; a mini-batch is what is taken at a time.
SEPARATE = (
    "trainer.v1.separate_async.parameter_sync_step=4",
    "data.train_batch_size=32",
    "actor_rollout_ref.actor.ppo_mini_batch_size=8",
    "actor_rollout_ref.rollout.nnodes=1",
    "actor_rollout_ref.rollout.n_gpus_per_node=1",
    "actor_rollout_ref.rollout.checkpoint_engine.backend=nccl",
)


def trainer(mode, *overrides):
    config = compose(
        [
            "platform=cpu",
            "actor_rollout_ref.model.path=unused",
            "data.train_files=unused",
            "data.val_files=unused",
            f"trainer.v1.trainer_mode={mode}",
            *overrides,
        ]
    )
    return get_trainer_cls(mode)(config)


@pytest.mark.parametrize(
    "mode, verl_mode, buffer",
    [
        ("htpo_sync", "sync", CountingReplayBuffer),
        ("htpo_colocate_async", "colocate_async", CountingReplayBufferAsync),
        ("htpo_separate_async", "separate_async", CountingReplayBufferAsync),
    ],
)
def test_each_trainer_runs_under_verls_mode(mode, verl_mode, buffer):
    """verl compares the mode's name with "sync" to choose the replay buffer and more. The engines are HTPO's."""
    made = trainer(mode, *(SEPARATE if mode == "htpo_separate_async" else ()))
    assert made.trainer_mode == made.config.trainer.v1.trainer_mode == verl_mode
    assert made.config.actor_rollout_ref.model.model_type == MODEL_TYPE
    assert type(made.replay_buffer) is buffer
    assert made.replay_buffer.filter_groups_metric == "acc"
    # Seconds; the CPU platform asks for short ones.
    assert made.replay_buffer.poll_interval == made.config.htpo.replay_poll_interval_s < 1.0


def test_without_the_pin_verl_would_take_the_other_buffer():
    """The reason for the pin; if this fails, verl no longer needs it."""
    config = trainer("htpo_sync").config
    config.trainer.v1.trainer_mode = "htpo_sync"
    assert type(PPOTrainerSync(config).replay_buffer) is ReplayBufferAsync


def test_poll_interval_is_verls_where_not_set():
    assert trainer("htpo_sync", "htpo.replay_poll_interval_s=null").replay_buffer.poll_interval == 2.0


def test_making_a_trainer_arms_no_watchdog(monkeypatch):
    before = threading.active_count()
    made = trainer("htpo_sync")
    assert threading.active_count() == before
    # What it looks at while it waits: verl's replay buffer, at its last poll.
    empty, during = made._progress(), []
    finished = {"uid": {"is_prompt": True, "global_steps": 1, "status": "finished"}, "uid_0_0": {}}

    def kv_list():
        during.append(made._progress())
        return {"val": finished}

    monkeypatch.setattr(verl_buffers.tq, "kv_list", kv_list)
    made.replay_buffer._sync_metadata_from_transfer_queue()
    seen = made._progress()
    assert seen != empty
    # verl's tables are empty while it asks: that is no progress, or a watch would never end.
    made.replay_buffer._sync_metadata_from_transfer_queue()
    assert during == [empty, seen] and made._progress() == seen


def test_the_trainer_gives_each_step_its_budget(monkeypatch):
    """Refills go through it, with what the buffer knows to be in flight."""
    monkeypatch.setattr(PPOTrainerSync, "_add_prompts_to_generate", lambda self, num_prompts: num_prompts)
    made = trainer("htpo_sync", "data.train_batch_size=32", "algorithm.filter_groups.max_num_gen_batches=3")
    made.global_steps = 7
    for _ in range(2):
        made.on_step_begin()
        # 32 prompts to begin with, and two more batches of 32.
        assert made._add_prompts_to_generate(60) == 60
        made.replay_buffer.prompt_global_steps["train"] = {str(uid): 7 for uid in range(30)}
        assert made._add_prompts_to_generate(16) == 4
        del made.replay_buffer.prompt_global_steps["train"]["0"]
        made.replay_buffer.evicted["uniform"] += 70
        with pytest.raises(RuntimeError, match="step 7: 96 prompts .* 70 have the same `acc` throughout"):
            made._add_prompts_to_generate(1)


def test_an_asynchronous_step_counts_what_is_in_flight_already(monkeypatch):
    monkeypatch.setattr("recipe.htpo.seams.run_life._count_tq_prompt_groups", lambda: 48)
    made = trainer("htpo_separate_async", *SEPARATE, "algorithm.filter_groups.max_num_gen_batches=3")
    monkeypatch.setattr(PPOTrainer, "_add_prompts_to_generate", lambda self, num_prompts: num_prompts)
    made.global_steps = 7
    # The batches ahead of the first step are nobody's refills.
    assert made._add_prompts_to_generate(1000) == 1000
    made._begin_refills()
    made.replay_buffer.prompt_global_steps["train"] = {str(uid): 7 for uid in range(32)}
    assert made._add_prompts_to_generate(20) == 16
    # A mini-batch is taken: fewer are needed for the rest of the step.
    made._sample_start = made._step_sample_wait_seconds = 0.0
    made.on_sample_end()
    made.replay_buffer.prompt_global_steps["train"] = {str(uid): 7 for uid in range(24)}
    assert made._add_prompts_to_generate(1) == 0
    made.replay_buffer.prompt_global_steps["train"] = {str(uid): 7 for uid in range(23)}
    made.replay_buffer.evicted["failed"] += 9
    with pytest.raises(RuntimeError, match="96 prompts .* 9 have a failed rollout. The error of the rollouts"):
        made._add_prompts_to_generate(1)


@pytest.mark.parametrize("filter_groups", ["max_num_gen_batches=0", "enable=False"])
def test_refilling_without_a_limit(monkeypatch, filter_groups):
    monkeypatch.setattr(PPOTrainerSync, "_add_prompts_to_generate", lambda self, num_prompts: num_prompts)
    made = trainer("htpo_sync", f"algorithm.filter_groups.{filter_groups}")
    made.global_steps = 7
    made.on_step_begin()
    assert made._add_prompts_to_generate(10_000) == 10_000


def test_a_step_whose_rollouts_failed_is_not_trained(monkeypatch):
    """A dead server's step; a single failure in a large batch is verl's to fill up."""
    monkeypatch.setattr(PPOTrainer, "_balance_batch", lambda self, batch, metrics, *rest: batch)
    made = trainer("htpo_sync", "data.train_batch_size=4", "actor_rollout_ref.rollout.n=10")
    made.global_steps = 7
    keys = [f"uid{prompt}_{session}_0" for prompt in range(4) for session in range(10)]
    # A second output of a session is no response of its own.
    keys.append("uid0_0_1")
    for there in (keys, keys[4:]):
        made._balance_batch(KVBatchMeta(partition_id="train", keys=there, tags=[{}] * len(there)), {})
    with pytest.raises(RuntimeError, match="5 of 40 responses of step 7 failed, .*max_failed_rollouts=0.1"):
        made._balance_batch(KVBatchMeta(partition_id="train", keys=keys[5:40], tags=[{}] * 35), {})


def test_numbers_of_things_are_added_over_the_mini_batches_of_a_step(monkeypatch):
    """verl averages what it does not know; a share stays a mean."""
    made = trainer("htpo_separate_async", *SEPARATE)
    given = iter([{name: float(10 * i + j) for j, name in enumerate(COUNTS)} for i in range(4)])

    def step_once(metrics, timing_raw, sample_batch_size):
        counts = next(given)
        for name, number in counts.items():
            made._counts[name] += number
        metrics.update(counts, **{"htpo/pass_rate": counts[COUNTS[0]] / 30})
        return KVBatchMeta(partition_id="train", keys=[f"uid{counts[COUNTS[0]]}_0_0"], tags=[{}])

    monkeypatch.setattr(made, "prepare_step", dict)
    monkeypatch.setattr(made, "_step_once", step_once)
    metrics = {}
    made.step(metrics, {})
    assert [metrics[name] for name in COUNTS] == [60.0, 64.0, 68.0, 72.0]
    assert metrics["htpo/pass_rate"] == pytest.approx(0.5)
    # What a checkpoint gets.
    assert made._step_metrics["htpo/prompts"] == 60.0


@pytest.mark.parametrize("norm_by_std", [True, False])
def test_the_estimator_is_grpos(norm_by_std):
    rewards = torch.zeros(6, 5)
    rewards[:, -1] = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.5, -1.0])
    mask = torch.ones(6, 5)
    index = np.array(["a"] * 4 + ["b"] * 2, dtype=object)
    ours = get_adv_estimator_fn("htpo")(
        token_level_rewards=rewards,
        response_mask=mask,
        index=index,
        config={"norm_adv_by_std_in_grpo": norm_by_std},
    )
    expected = compute_grpo_outcome_advantage(rewards, mask, index, norm_adv_by_std_in_grpo=norm_by_std)
    assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))
    assert expected[0].any()


def test_separate_async_takes_mini_batches():
    made = trainer("htpo_separate_async", *SEPARATE)
    assert made.parameter_sync_step == 4
    # verl's own conditions come through.
    with pytest.raises(AssertionError, match="parameter_sync_step \\* ppo_mini_batch_size"):
        trainer("htpo_separate_async", *SEPARATE, "data.train_batch_size=16")


@pytest.mark.parametrize("engine", ["nccl", "nixl"])
def test_separate_async_cannot_move_weights_on_a_cpu(engine):
    """The reason for which the preflight refuses it there; if this fails, try it."""
    from verl.checkpoint_engine import CheckpointEngineRegistry

    with pytest.raises((KeyError, ValueError, ImportError, RuntimeError)):
        CheckpointEngineRegistry.get(engine)
