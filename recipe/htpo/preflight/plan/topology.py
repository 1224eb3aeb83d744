# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""How the GPUs are divided: over replicas of the model in training, and over vLLM replicas in generation."""

from dataclasses import dataclass

from omegaconf import DictConfig


@dataclass(frozen=True)
class Topology:
    """Sizes of the groups that GPUs form; 1 where a kind of parallelism is not used. vLLM takes turns with the trainer
    on the same GPUs.
    """

    engine: str
    nodes: int
    gpus_per_node: int
    tensor: int = 1
    pipeline: int = 1
    virtual_pipeline: int = 1
    context: int = 1
    expert: int = 1
    expert_tensor: int = 1
    # Ranks over which FSDP splits weights, gradients and optimiser; 0 is all.
    fsdp_size: int = 0
    rollout_tensor: int = 1
    rollout_data: int = 1

    @property
    def world(self) -> int:
        """All GPUs."""
        return self.nodes * self.gpus_per_node

    @property
    def shards(self) -> int:
        """Ranks over which FSDP splits weights, gradients and optimiser."""
        return self.fsdp_size if 0 < self.fsdp_size < self.world else self.world

    @property
    def model_parallel(self) -> int:
        """GPUs that work on the same sequences."""
        return self.tensor * self.pipeline * self.context

    @property
    def data(self) -> int:
        """Replicas with different data."""
        return self.world // self.model_parallel

    @property
    def expert_parallel(self) -> int:
        """GPUs that hold each expert of the model once."""
        return self.pipeline * self.expert * self.expert_tensor

    @property
    def expert_data(self) -> int:
        """Replicas of each expert."""
        return self.world // self.expert_parallel

    @property
    def rollout_replica(self) -> int:
        """GPUs of a vLLM replica."""
        return self.rollout_tensor * self.rollout_data

    @property
    def rollout_replicas(self) -> int:
        """vLLM replicas."""
        return self.world // self.rollout_replica


def find_topology(config: DictConfig) -> Topology:
    """The groups of a composed configuration; whether they divide is `recipe.htpo.preflight.sizes`' to say.

    `context` is Megatron's context parallelism, or Ulysses under FSDP: GPUs that share a sequence.
    """
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    shared = {
        "nodes": config.trainer.nnodes,
        "gpus_per_node": config.trainer.n_gpus_per_node,
        "rollout_tensor": rollout.tensor_model_parallel_size,
        "rollout_data": rollout.data_parallel_size,
    }
    if actor.strategy != "megatron":
        return Topology("fsdp", context=ulysses_size(actor), fsdp_size=actor.fsdp_config.fsdp_size, **shared)
    engine = actor.megatron
    expert_tensor = engine.expert_tensor_parallel_size
    return Topology(
        "megatron",
        tensor=engine.tensor_model_parallel_size,
        pipeline=engine.pipeline_model_parallel_size,
        virtual_pipeline=engine.virtual_pipeline_model_parallel_size or 1,
        context=engine.context_parallel_size,
        expert=engine.expert_model_parallel_size,
        expert_tensor=engine.tensor_model_parallel_size if expert_tensor is None else expert_tensor,
        **shared,
    )


def ulysses_size(role: DictConfig) -> int:
    """GPUs that share a sequence under FSDP in `actor` or `ref`: its own field wins where it is set
    (verl/workers/config/actor.py, FSDPActorConfig).
    """
    size: int = role.ulysses_sequence_parallel_size
    return size if size > 1 else role.fsdp_config.ulysses_sequence_parallel_size


def has_reference(config: DictConfig) -> bool:
    """Whether verl builds a reference policy, for a KL term in the loss or in the reward."""
    from verl.trainer.ppo.utils import need_reference_policy

    return bool(need_reference_policy(config))
