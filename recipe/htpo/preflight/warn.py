# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What is allowed and known to go wrong."""

from collections.abc import Iterator

from omegaconf import DictConfig

from recipe.htpo.config import objective_config
from recipe.htpo.objective import CELL_NAMES

# Rules whose gradient by log-probability does not end where a token's probability has fallen.
UNBOUNDED_RULES = ("penalize", "keep_gradient")


def objective_warnings(config: DictConfig) -> Iterator[str]:
    """Terms that push a token on without end, advantages that their loss clips; `config` has no problems."""
    objective = objective_config(config)
    actor = config.actor_rollout_ref.actor
    updates = config.data.train_batch_size // actor.ppo_mini_batch_size * actor.ppo_epochs
    unbounded = [
        name
        for group, name in enumerate(CELL_NAMES, start=1)
        if (cell := objective.cells[group]).rule in UNBOUNDED_RULES
        and cell.region in ("all", "below", "outside")
        and cell.floor == 0
    ]
    if unbounded and updates > 1:
        yield (
            f"objective.cells.{unbounded[0]}.floor is 0 with {updates} updates per batch: the term pushes a token on "
            f"that has already fallen, without end, and small models collapse so (docs/objectives.md). It concerns "
            f"{', '.join(unbounded)}. Set a floor (0.7), a smaller scale, or objective=htpo"
        )
    weights, loss_mode = objective.weights, actor.policy_loss.loss_mode
    if weights is not None and weights.name == "asymre" and loss_mode != "gpg":
        yield (
            f"objective.weights=asymre is for a loss without ratio and clip, and policy_loss.loss_mode is {loss_mode}. "
            "Set objective=dapo actor_rollout_ref.actor.policy_loss.loss_mode=gpg"
        )


def rollout_warnings(config: DictConfig) -> Iterator[str]:
    """vLLM computes with other numbers than the trainer, and nothing makes up for it."""
    quantization = config.actor_rollout_ref.rollout.quantization
    correction = config.algorithm.get("rollout_correction")
    if quantization is not None and not (correction is not None and correction.get("rollout_is")):
        yield (
            f"actor_rollout_ref.rollout.quantization is {quantization}: the policy that generates is not the one that "
            "is trained. Set algorithm.rollout_correction.rollout_is=token and rollout_is_threshold=2.0, and watch "
            "training/rollout_probs_diff_mean"
        )


def queue_warnings(config: DictConfig) -> Iterator[str]:
    """Fewer storage processes of TransferQueue than its documentation advises: they carry every batch."""
    units, nodes = config.transfer_queue.backend.SimpleStorage.num_data_storage_units, config.trainer.nnodes
    if nodes > 1 and units < 2 * nodes:
        yield (
            f"transfer_queue.backend.SimpleStorage.num_data_storage_units is {units} for {nodes} nodes; at least "
            f"{2 * nodes} are advised"
        )
