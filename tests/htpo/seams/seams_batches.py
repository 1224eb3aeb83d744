# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Mini-batches in the form in which verl's engines hand them to a loss, and the way verl trains on them.

Follows verl/workers/engine/fsdp/transformer_impl.py (forward_backward_batch), engine_workers.py
(_postprocess_output, train_mini_batch) and trainer_base.py (_update_actor), with verl's own functions.
"""

from copy import deepcopy
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from typing import Any

import torch
from omegaconf import DictConfig
from tensordict import TensorDict
from torch import Tensor
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.metric import Metric, reduce_metrics
from verl.utils.py_functional import append_to_dict, rename_dict
from verl.workers.config import FSDPActorConfig
from verl.workers.engine.utils import postprocess_batch_func, prepare_micro_batches

from recipe.htpo.config import compose
from recipe.htpo.objective import ObjectiveConfig, metrics_from_sums
from recipe.htpo.seams.groups import split_tokens
from recipe.htpo.seams.loss import GROUPS_FIELD, SUMS_PREFIX

ROW = "row"
OPTIONAL_FIELDS = {"ref_log_prob", "rollout_is_weights"}


def actor_config(*overrides: str) -> FSDPActorConfig:
    """The actor's configuration as a worker instantiates it."""
    config = deepcopy(_composed())
    config.merge_with_dotlist([f"actor_rollout_ref.actor.{override}" for override in overrides])
    return omega_conf_to_dataclass(config.actor_rollout_ref.actor)


@cache
def _composed() -> DictConfig:
    return compose(["platform=cpu", "actor_rollout_ref.model.path=unused"])


@dataclass
class MiniBatch:
    """`data` as the worker gets it, and per row what the model gives for prompt + response (leaves with gradient)."""

    data: TensorDict
    log_probs: list[Tensor]
    entropy: list[Tensor]
    hard: Tensor
    correct: Tensor

    def split(self, objective: ObjectiveConfig) -> None:
        """Write the groups, as the trainer does."""
        self.data[GROUPS_FIELD], _ = split_tokens(self.data, self.hard, self.correct, objective)

    def model_output(self, micro_batch: TensorDict, *names: str) -> dict[str, Tensor]:
        """Jagged model output of the rows of a micro-batch."""
        rows = micro_batch[ROW].tolist()
        return {name: jagged([getattr(self, name)[row] for row in rows]) for name in names}

    def gradient(self) -> Tensor:
        """Gradient of all rows' log-probabilities, one after another; clears it."""
        values = torch.cat([torch.zeros_like(row) if row.grad is None else row.grad for row in self.log_probs])
        for row in self.log_probs:
            row.grad = None
        return values


def jagged(rows: list[Tensor]) -> Tensor:
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def mini_batch(*optional: str, rows: int = 8, width: int = 40, seed: int = 0) -> MiniBatch:
    """Random float64 rows of all difficulties and verdicts, with the optional fields named.

    Row 1 has one token and an all-zero mask, as verl's padding rows; a few tokens of the others are masked as well, as
    the observations of a tool are.
    """
    random = torch.Generator().manual_seed(seed)

    def uniform(size: int, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(size, generator=random, dtype=torch.float64)

    lengths = torch.randint(width // 2, width + 1, (rows,), generator=random).tolist()
    lengths[1] = 1
    prompt_lengths = torch.randint(1, 6, (rows,), generator=random).tolist()
    masks = [(torch.rand(length, generator=random) > 0.1).long() for length in lengths]
    masks[1].zero_()
    old = [-uniform(length, 0.0, 3.0) for length in lengths]
    fields: dict[str, Any] = {
        "prompts": [torch.ones(length, dtype=torch.long) for length in prompt_lengths],
        "responses": [torch.ones(length, dtype=torch.long) for length in lengths],
        "input_ids": [
            torch.ones(prompt + length, dtype=torch.long)
            for prompt, length in zip(prompt_lengths, lengths, strict=True)
        ],
        "response_mask": masks,
        "loss_mask": masks,
        "old_log_probs": old,
        "advantages": [uniform(1, -1.5, 1.5).expand(length).clone() for length in lengths],
        "entropy": [uniform(length, 0.0, 2.0) for length in lengths],
        "ref_log_prob": [values + uniform(len(values), -0.3, 0.3) for values in old],
        "rollout_is_weights": [uniform(length, 0.5, 1.5) for length in lengths],
    }
    data = TensorDict({name: jagged(value) for name, value in fields.items()}, batch_size=rows)
    data[ROW] = torch.arange(rows)
    log_probs, entropy = [], []
    for prompt, values in zip(prompt_lengths, old, strict=True):
        # The model's output is shifted: position p predicts token p + 1.
        current = torch.cat(
            [uniform(prompt - 1, -3.0, 0.0), values + uniform(len(values), -1.0, 1.0), uniform(1, -1, 0)]
        )
        log_probs.append(current.requires_grad_())
        entropy.append(uniform(len(current), 0.0, 2.0).requires_grad_())
    tu.assign_non_tensor(data, global_batch_size=rows)
    hard, correct = torch.arange(rows) % 2 == 0, torch.arange(rows) % 4 < 2
    return MiniBatch(data.exclude(*OPTIONAL_FIELDS.difference(optional)), log_probs, entropy, hard, correct)


def whole(batch: MiniBatch) -> TensorDict:
    """The mini-batch as one micro-batch of a single rank."""
    tu.assign_non_tensor(batch.data, dp_size=1, batch_num_tokens=batch.data["loss_mask"].values().sum().item())
    return batch.data


def train(batch: MiniBatch, loss_fn: partial, ranks: int = 1, **split: int) -> tuple[float, Tensor, dict[str, float]]:
    """Loss, gradient and step metrics of one update over `ranks` data-parallel ranks.

    Args:
        loss_fn: `htpo_loss` of an actor configuration and an objective.
        split: `micro_batch_size_per_gpu=N`, or `max_token_len_per_gpu=N` for dynamic micro-batches.
    """
    batch.split(loss_fn.args[1])
    whole(batch)
    tu.assign_non_tensor(
        batch.data, dp_size=ranks, use_dynamic_bsz="max_token_len_per_gpu" in split, sp_size=1, **split
    )
    outputs = []
    for data in tu.chunk_tensordict(batch.data, ranks):
        results = []
        micro_batches, indices = prepare_micro_batches(data)
        for micro_batch in micro_batches:
            loss, metrics = loss_fn(model_output=batch.model_output(micro_batch, "log_probs"), data=micro_batch)
            # FSDP averages gradients over ranks.
            (loss / ranks).backward()
            results.append({"loss": loss.item(), "metrics": metrics})
        outputs.append(postprocess_batch_func(results, indices, data))
    gathered = {name: [output["metrics"][name] for output in outputs] for name in outputs[0]["metrics"]}
    for name, value in gathered.items():
        gathered[name] = (
            Metric.aggregate_dp(value) if isinstance(value[0], Metric) else list(chain.from_iterable(value))
        )
    step: dict[str, Any] = {}
    append_to_dict(step, gathered)
    reduced = reduce_metrics(rename_dict(step, "actor/"))
    prefix = "actor/" + SUMS_PREFIX
    sums = {name.removeprefix(prefix): value for name, value in reduced.items() if name.startswith(prefix)}
    metrics = {name: value for name, value in reduced.items() if not name.startswith(prefix)}
    loss = sum(sum(output["loss"]) for output in outputs) / ranks
    return loss, batch.gradient(), metrics | metrics_from_sums(sums)
