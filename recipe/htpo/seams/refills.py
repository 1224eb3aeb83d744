# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Groups that are not trained on: prompts that replace them, how many of them a step may take, failed rollouts.

verl's replay buffers ask for them without a bound (`algorithm.filter_groups.max_num_gen_batches` is ignored by the V1
trainers, verl/trainer/ppo/v1/trainer_base.py, _resolve_filter_groups_metric).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync

UNIFORM, FAILED, STALE = "uniform", "failed", "stale"


class CountsEvictions(ReplayBuffer):
    """Mixed in before one of verl's buffers: counts the groups that are not kept, by the reason, and what was seen."""

    evicted: Counter[str]
    seen: tuple[int, int]
    """Responses, and prompts that are finished, in all partitions, at the last poll."""

    def _sync_metadata_from_transfer_queue(self) -> None:
        # verl empties its tables before it asks for their content: a thread that counts there would count a change.
        super()._sync_metadata_from_transfer_queue()
        self.seen = tuple(  # type: ignore[assignment]
            sum(len(keys) for keys in table.values()) for table in (self.partitions, self.finished_keys)
        )

    def _evict_terminal_groups(self, global_steps: int, partition_id: str, eviction_reasons: Any) -> Any:
        stale, uniform, failed, _ = eviction_reasons
        self.evicted.update(
            {UNIFORM: len(uniform), FAILED: len(failed - uniform), STALE: len(stale - uniform - failed)}
        )
        return super()._evict_terminal_groups(global_steps, partition_id, eviction_reasons)


class CountingReplayBuffer(CountsEvictions, ReplayBuffer):
    """verl's synchronous buffer, counting."""


class CountingReplayBufferAsync(CountsEvictions, ReplayBufferAsync):
    """verl's asynchronous buffer, counting."""


_COUNTING = {ReplayBuffer: CountingReplayBuffer, ReplayBufferAsync: CountingReplayBufferAsync}


def count_evictions(buffer: Any) -> Any:
    """The same buffer, counting what it evicts; a buffer of another class (a custom sampler) as it is.

    verl chooses the class in the function that collects its arguments, so the class of the finished object is changed.
    """
    counting = _COUNTING.get(type(buffer))
    if counting is not None:
        buffer.__class__ = counting
        buffer.evicted, buffer.seen = Counter(), (0, 0)
    return buffer


def refuse_failed_rollouts(keys: Sequence[str], expected: int, allowed: float, step: int) -> None:
    """verl's synchronous trainer takes groups with failed rollouts, and trains on what there is.

    Args:
        keys: `{uid}_{session}_{output}` of the batch that was taken.
        expected: responses that the batch should have.
        allowed: share of them that may be missing.
        step: the training step, for the message.

    Raises:
        RuntimeError: more are missing.
    """
    failed = expected - len({key.rsplit("_", 1)[0] for key in keys})
    if failed > allowed * expected:
        raise RuntimeError(
            f"{failed} of {expected} responses of step {step} failed, more than htpo.max_failed_rollouts={allowed} "
            "allows; the step is not trained. A rollout server that died, or a reward function that raises, stands "
            "above this line. The same command continues from the last checkpoint"
        )


@dataclass
class RefillBudget:
    """How many prompts one step may give to generation, those in flight included."""

    limit: int
    """Generation batches; 0 is no limit."""
    batch_size: int
    """Prompts of a generation batch, and of the step."""
    metric: str
    """What has to differ within a group."""
    generated: int = 0
    """Prompts of this step: in flight or waiting when it began, its own batch, and refills."""
    taken: int = 0
    """Prompts of this step that the trainer has already taken."""
    evicted_before: Counter[str] = field(default_factory=Counter)

    def begin_step(self, carried: int, evicted: Counter[str]) -> None:
        """A new step with a budget of its own. `carried` prompts are in flight or wait from steps before."""
        self.generated = carried + self.batch_size
        self.taken = 0
        self.evicted_before = Counter(evicted)

    def allow(self, asked: int, known: int, step: int, evicted: Counter[str]) -> int:
        """How many of the `asked` prompts may be generated; fewer while those in flight may still suffice.

        verl asks after every eviction, with a free place in flight, so that a step that cannot be filled any more is
        seen here.

        Args:
            asked: prompts that the replay buffer wants.
            known: prompts in flight or ready to be trained on.
            step: the training step, for the message.
            evicted: groups evicted since the start, by the reason.

        Raises:
            RuntimeError: the budget is spent and the step cannot be filled; the message says what became of the groups.
        """
        if self.limit <= 0:
            return asked
        allowed = min(asked, max(0, self.limit * self.batch_size - self.generated))
        if allowed < asked and known + allowed < self.batch_size - self.taken:
            raise RuntimeError(self._message(step, evicted - self.evicted_before))
        self.generated += allowed
        return allowed

    def _message(self, step: int, evicted: Counter[str]) -> str:
        why = {
            UNIFORM: (
                f"have the same `{self.metric}` throughout",
                "The task is too easy or too hard for this model, or the verifier is wrong. Raise "
                "algorithm.filter_groups.max_num_gen_batches, change the data, or set "
                "algorithm.filter_groups.enable=False",
            ),
            FAILED: (
                "have a failed rollout",
                "The error of the rollouts stands in the log above; mend its cause, the data and the reward function "
                "included",
            ),
            STALE: (
                "are too old",
                "Raise trainer.v1.sampler.max_off_policy_threshold, or generate fewer batches ahead "
                "(trainer.v1.<mode>.num_warmup_batches)",
            ),
        }
        counts = ", ".join(f"{evicted[reason]} {text}" for reason, (text, _) in why.items() if evicted[reason])
        most = max(why, key=lambda reason: evicted[reason])
        return (
            f"generation stopped at step {step}: {self.generated} prompts were generated, those in flight included "
            f"(algorithm.filter_groups.max_num_gen_batches={self.limit} x data.train_batch_size={self.batch_size}), "
            f"and of their groups {counts or 'too few can be trained on'}. {why[most][1]}"
        )
