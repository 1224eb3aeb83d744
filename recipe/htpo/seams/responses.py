# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What the trainer knows about every response of a batch: its prompt, its correctness, whether it counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transfer_queue import KVBatchMeta

from recipe.htpo.objective import ObjectiveConfig, binarise_acc, difficulty
from recipe.htpo.verifier import REASONS

# Metrics of verl's replay buffer (verl/trainer/ppo/v1/replay_buffer.py): dropped groups by their accuracy, and how many
# more were not needed.
UNIFORM_GROUPS = "_dapo_filtered_reward_counts"
SURPLUS_GROUPS = "training/filter_groups/discarded_surplus_samples"

# Prompt metrics that are numbers of something: over the mini-batches of a step they are added up.
COUNTS = ("htpo/prompts", "htpo/short_prompts", "htpo/rows_dropped_padding", "htpo/rows_dropped_empty_or_not_final")


@dataclass(frozen=True)
class ResponseFacts:
    """Facts of one training batch of `B` rows; a row is one output of one agent-loop session."""

    prompt_index: Tensor
    """`[B]` int64, rows of one prompt share an index."""
    correct: Tensor
    """`[B]` bool, the verifier's `acc`, binarised."""
    counted: Tensor
    """`[B]` bool: the final output of its session, with valid tokens, not padding. Only these enter a pass rate."""
    padding: Tensor
    """`[B]` bool, synthetic rows that verl appends (verl/trainer/ppo/padding_utils.py)."""
    rewards: tuple[Mapping[str, Any], ...]
    """What the reward function returned for every row that is not padding."""

    @classmethod
    def read(
        cls,
        keys: Sequence[str],
        uids: Sequence[str],
        extra_fields: Sequence[Any],
        valid_tokens: Tensor,
        padding: Sequence[bool],
    ) -> "ResponseFacts":
        """Collect the facts from verl's batch.

        Args:
            keys: `{uid}_{session}_{output}` (verl/trainer/ppo/v1/agent_loop_tq.py).
            uids: prompt uid of every row.
            extra_fields: the agent loop's extra fields; `reward_extra_info` carries the verifier's `acc`.
            valid_tokens: `[B]` number of valid response tokens.
            padding: rows tagged `is_padding`; their other fields are a copy of the first sample's.

        Raises:
            KeyError: a response without `acc`.
            ValueError: an `acc` that is NaN.
        """
        index: dict[str, int] = {}
        prompt_index = torch.tensor([index.setdefault(uid, len(index)) for uid in uids], dtype=torch.int64)
        final_output: dict[str, int] = {}
        for key in keys:
            session, output = key.rsplit("_", 1)
            final_output[session] = max(final_output.get(session, 0), int(output))
        final = torch.tensor([final_output[key.rsplit("_", 1)[0]] == int(key.rsplit("_", 1)[1]) for key in keys])
        is_padding = torch.tensor(padding, dtype=torch.bool)
        rewards = [_reward_info(fields) for fields in extra_fields]
        acc = [0.0 if pad else _acc(info, uid) for info, uid, pad in zip(rewards, uids, padding, strict=True)]
        return cls(
            prompt_index=prompt_index,
            correct=binarise_acc(acc),
            counted=final & ~is_padding & (valid_tokens.cpu() > 0),
            padding=is_padding,
            rewards=tuple(info for info, pad in zip(rewards, padding, strict=True) if not pad),
        )

    @classmethod
    def of_batch(cls, batch: KVBatchMeta, data: Mapping[str, Any]) -> "ResponseFacts":
        """From the trainer's batch, and its fields `uid`, `extra_fields` and `response_mask` (jagged)."""
        return cls.read(
            keys=batch.keys,
            uids=list(data["uid"]),
            extra_fields=list(data["extra_fields"]),
            valid_tokens=torch.stack([row.sum() for row in data["response_mask"].unbind()]),
            padding=[bool(tag.get("is_padding", False)) for tag in batch.tags],
        )

    def reward_metrics(self) -> dict[str, float]:
        """`reward/reason_<reason>`: share of responses by the verifier's reason; `reward/<key>`: mean of a number."""
        metrics = {f"reward/reason_{reason}": 0.0 for reason in REASONS}
        for info in self.rewards:
            for key, value in info.items():
                if key == "reason":
                    name, amount = f"reward/reason_{value}", 1.0
                elif isinstance(value, int | float):
                    name, amount = f"reward/{key}", float(value)
                else:
                    continue
                metrics[name] = metrics.get(name, 0.0) + amount / len(self.rewards)
        return metrics

    def difficulty(
        self, objective: ObjectiveConfig, rollout_n: int, dropped: "DroppedGroups | None" = None
    ) -> tuple[Tensor, dict[str, float]]:
        """`hard` `[B]` bool of every row's prompt, and the prompt metrics of the step.

        `dropped` adds `htpo/pass_rate_generated`: of the prompts before dynamic sampling dropped any.
        """
        verdict = difficulty(self.correct, self.prompt_index, self.counted, objective.difficulty_threshold)
        hard_prompt = verdict.pass_rate < objective.difficulty_threshold
        present = verdict.num_responses > 0
        num_prompts = int(present.sum())
        pass_rate = float(verdict.pass_rate[present].mean()) if num_prompts else 0.0
        generated = {} if dropped is None else {"htpo/pass_rate_generated": dropped.pass_rate(pass_rate, num_prompts)}
        return hard_prompt[self.prompt_index], generated | {
            "htpo/hard_prompt_frac": float(hard_prompt[present].double().mean()) if num_prompts else 0.0,
            "htpo/pass_rate": pass_rate,
            "htpo/mixed_prompt_frac": float(
                ((verdict.pass_rate > 0) & (verdict.pass_rate < 1))[present].double().mean()
            )
            if num_prompts
            else 0.0,
            "htpo/prompts": float(num_prompts),
            # A failed rollout leaves its group short; difficulty then rests on fewer responses.
            "htpo/short_prompts": float((verdict.num_responses[present] < rollout_n).sum()),
            "htpo/rows_dropped_padding": float(self.padding.sum()),
            "htpo/rows_dropped_empty_or_not_final": float((~self.counted & ~self.padding).sum()),
        }


@dataclass(frozen=True)
class DroppedGroups:
    """Prompt groups of a step that verl's dynamic sampling generated and did not hand to the trainer."""

    uniform: Mapping[float, int]
    """How many had one accuracy throughout, by that accuracy."""
    surplus: int
    """How many were mixed and not needed; their pass rates are not known and taken for those of the kept ones."""

    @classmethod
    def read(cls, metrics: Mapping[str, Any]) -> "DroppedGroups":
        """From the metrics of the step so far."""
        return cls(
            metrics.get(UNIFORM_GROUPS) or {},
            int(metrics.get(SURPLUS_GROUPS, 0)),
        )

    def pass_rate(self, kept_pass_rate: float, kept: int) -> float:
        """Mean pass rate of all generated prompts, `kept` of which have the mean `kept_pass_rate`."""
        mixed = kept + self.surplus
        solved = kept_pass_rate * mixed + sum((acc > 0.5) * count for acc, count in self.uniform.items())
        return solved / max(mixed + sum(self.uniform.values()), 1)


def _reward_info(extra_fields: Any) -> Mapping[str, Any]:
    fields = getattr(extra_fields, "data", extra_fields)
    return fields.get("reward_extra_info", {}) if isinstance(fields, Mapping) else {}


def _acc(info: Mapping[str, Any], uid: str) -> float:
    if "acc" not in info:
        raise KeyError(
            f"the reward of prompt {uid} has no `acc` (it has: {', '.join(sorted(info)) or 'nothing'}); HTPO groups "
            "by correctness. Let reward.custom_reward_function return a dictionary with `score` and `acc`"
        )
    return float(info["acc"])
