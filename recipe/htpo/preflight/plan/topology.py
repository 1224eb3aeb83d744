# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""How the GPUs are divided: over replicas of the model in training, and over vLLM replicas in generation."""

from dataclasses import dataclass

from omegaconf import DictConfig


@dataclass(frozen=True)
class Topology:
    """Sizes of the groups that GPUs form; 1 where a kind of parallelism is not used."""

    engine: str
    nodes: int
    gpus_per_node: int
    tensor: int = 1
    pipeline: int = 1
    virtual_pipeline: int = 1
    context: int = 1
    expert: int = 1
    expert_tensor: int = 1
    # Ranks over which FSDP splits weights, gradients and optimiser.
    shards: int = 1
    # Whether vLLM runs on the trainer's GPUs, in turn with it, and on how many it runs.
    colocated: bool = True
    rollout_gpus: int = 1
    rollout_tensor: int = 1
    rollout_data: int = 1

    @property
    def world(self) -> int:
        """GPUs of the trainer."""
        return self.nodes * self.gpus_per_node

    @property
    def model_parallel(self) -> int:
        """GPUs that work on the same sequences."""
        return self.tensor * self.pipeline * self.context

    @property
    def data(self) -> int:
        """Replicas with different data."""
        return self.world // self.model_parallel

    @property
    def expert_data(self) -> int:
        """Replicas of each expert."""
        return self.world // (self.pipeline * self.expert * self.expert_tensor)

    @property
    def rollout_replica(self) -> int:
        """GPUs of a vLLM replica."""
        return self.rollout_tensor * self.rollout_data

    @property
    def rollout_replicas(self) -> int:
        """vLLM replicas."""
        return self.rollout_gpus // self.rollout_replica


def find_topology(config: DictConfig) -> Topology:
    """The groups of a composed configuration; whether they divide is `recipe.htpo.preflight.parallelism`'s to say.

    `context` is Megatron's context parallelism, or Ulysses under FSDP: GPUs that share a sequence.
    """
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    nodes, gpus = config.trainer.nnodes, config.trainer.n_gpus_per_node
    # The separate asynchronous trainer has a pool for vLLM (verl/trainer/ppo/v1/trainer_separate_async.py).
    separate = str(config.trainer.v1.trainer_mode).endswith("separate_async")
    shared = {
        "nodes": nodes,
        "gpus_per_node": gpus,
        "colocated": not separate,
        "rollout_gpus": rollout.nnodes * rollout.n_gpus_per_node if separate else nodes * gpus,
        "rollout_tensor": rollout.tensor_model_parallel_size,
        "rollout_data": rollout.data_parallel_size,
    }
    if actor.strategy == "megatron":
        engine = actor.megatron
        expert_tensor = engine.expert_tensor_parallel_size
        return Topology(
            engine="megatron",
            tensor=engine.tensor_model_parallel_size,
            pipeline=engine.pipeline_model_parallel_size,
            virtual_pipeline=engine.virtual_pipeline_model_parallel_size or 1,
            context=engine.context_parallel_size,
            expert=engine.expert_model_parallel_size,
            expert_tensor=engine.tensor_model_parallel_size if expert_tensor is None else expert_tensor,
            **shared,
        )
    fsdp_size = actor.fsdp_config.fsdp_size
    return Topology(
        engine="fsdp",
        context=ulysses_size(actor),
        shards=fsdp_size if 0 < fsdp_size < nodes * gpus else nodes * gpus,
        **shared,
    )


def ulysses_size(role: DictConfig) -> int:
    """GPUs that share a sequence under FSDP in `actor` or `ref`: its own field wins where it is set
    (verl/workers/config/actor.py, FSDPActorConfig).
    """
    size: int = role.ulysses_sequence_parallel_size
    return size if size > 1 else role.fsdp_config.ulysses_sequence_parallel_size
