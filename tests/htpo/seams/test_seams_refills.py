# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The budget of refills, alone and under verl's replay buffers."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from verl.trainer.ppo.v1 import replay_buffer as verl_buffers

from recipe.htpo.seams.refills import FAILED, STALE, UNIFORM, RefillBudget, count_evictions

BATCH = 4


def budget(limit: int, carried: int = 0) -> RefillBudget:
    made = RefillBudget(limit, BATCH, "acc")
    made.begin_step(carried, Counter())
    return made


@pytest.mark.parametrize(
    "evicted, blamed, not_blamed",
    [
        ({UNIFORM: 9, FAILED: 1}, "too easy or too hard", "error of the rollouts"),
        ({UNIFORM: 1, FAILED: 9}, "error of the rollouts", "too easy or too hard"),
        ({STALE: 9, UNIFORM: 1}, "max_off_policy_threshold", "too easy or too hard"),
    ],
)
def test_the_message_blames_what_was_to_blame(evicted, blamed, not_blamed):
    with pytest.raises(RuntimeError, match=blamed) as stopped:
        budget(1).allow(1, known=3, step=7, evicted=Counter(evicted))
    assert not_blamed not in str(stopped.value)
    assert all(str(number) in str(stopped.value) for number in evicted.values())


def test_only_this_steps_evictions_are_named():
    made = RefillBudget(1, BATCH, "acc")
    made.begin_step(0, Counter({FAILED: 100}))
    with pytest.raises(RuntimeError, match="2 have the same `acc` throughout") as stopped:
        made.allow(1, known=3, step=7, evicted=Counter({FAILED: 100, UNIFORM: 2}))
    assert "100" not in str(stopped.value)


def test_what_is_in_flight_when_the_step_begins_counts():
    assert budget(3).allow(20, known=4, step=1, evicted=Counter()) == 8
    assert budget(3, carried=6).allow(20, known=4, step=1, evicted=Counter()) == 2


class World:
    """Prompts that are being generated; a poll of the buffer sees one more of them come to its end."""

    def __init__(self, seed: int, asynchronous: bool, limit: int, uniform: float, failing: float) -> None:
        self.chance = random.Random(seed)
        self.asynchronous, self.uniform, self.failing = asynchronous, uniform, failing
        self.status: dict[str, str] = {}
        self.uniform_uids: set[str] = set()
        self.given = self.polls = 0
        self.budget = RefillBudget(limit, BATCH, "acc")
        self.budget.begin_step(0, Counter())
        kind = verl_buffers.ReplayBufferAsync if asynchronous else verl_buffers.ReplayBuffer
        sizes = {} if asynchronous else {"train_batch_size": BATCH, "gen_batch_size": 1, "max_inflight_gen_batches": 2}
        buffer = kind(
            trainer_mode="colocate_async" if asynchronous else "sync",
            trainer_config={},
            max_off_policy_threshold=None,
            max_off_policy_strategy="drop",
            sampler_kwargs={},
            poll_interval=0.0,
            refill_fn=self.refill,
            filter_groups_metric="acc",
            **sizes,
        )
        self.buffer = count_evictions(buffer)
        self.buffer._sync_metadata_from_transfer_queue = self.poll
        self.buffer._dapo_filtered_keys = self.filtered
        self.give(BATCH)

    def give(self, number: int) -> None:
        for _ in range(number):
            self.status[f"uid{self.given}"] = "running"
            self.given += 1

    def refill(self, number: int) -> int:
        known = len(self.buffer.prompt_global_steps["train"])
        allowed = self.budget.allow(number, known, 1, self.buffer.evicted)
        self.give(allowed)
        return allowed

    def poll(self) -> None:
        self.polls += 1
        assert self.polls < 2000, "the buffer waits for ever"
        running = [uid for uid, status in self.status.items() if status == "running"]
        if running:
            uid, fate = self.chance.choice(running), self.chance.random()
            self.status[uid] = "failure" if fate < self.failing else "finished"
            if self.failing <= fate < self.failing + self.uniform:
                self.uniform_uids.add(uid)
        buffer = self.buffer
        for keys in (buffer.pending_keys, buffer.running_keys, buffer.finished_keys, buffer.failure_keys):
            keys.clear()
        buffer.prompt_global_steps["train"] = dict.fromkeys(self.status, 1)
        buffer.partitions["train"] = {f"{uid}_0_0": {} for uid in self.status}
        for uid, status in self.status.items():
            getattr(buffer, f"{status}_keys")["train"].add(uid)

    def filtered(self, partition_id: str) -> tuple[set[str], Counter]:
        return self.uniform_uids & self.buffer.finished_keys["train"], Counter()

    def clear(self, partition_id: str, keys: list[str]) -> None:
        for key in keys:
            self.status.pop(key, None)


@given(st.integers(0, 10**6), st.booleans(), st.integers(1, 4), st.floats(0, 1), st.floats(0, 0.5))
def test_a_step_is_filled_or_ends_with_the_reason(seed, asynchronous, limit, uniform, failing):
    """Whatever becomes of the prompts, in whatever order: verl's loop never waits for ever, and the limit holds."""
    world = World(seed, asynchronous, limit, uniform, failing if asynchronous else 0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verl_buffers.tq, "kv_clear", world.clear)
        try:
            batch, _ = world.buffer.sample(global_steps=1, partition_id="train", batch_size=BATCH)
        except RuntimeError as stopped:
            assert "generation stopped at step 1" in str(stopped)
            # Nothing that was in flight could have filled it.
            assert len(world.status) < BATCH
            assert world.given == limit * BATCH
        else:
            assert len({key.split("_")[0] for key in batch.keys}) == BATCH
        assert world.given <= limit * BATCH


def test_a_custom_sampler_is_left_alone():
    own = object()
    assert count_evictions(own) is own
