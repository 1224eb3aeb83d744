# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""vLLM's replicas fit the GPUs, the model and the lengths."""

from collections.abc import Iterator

from omegaconf import DictConfig

from recipe.htpo.preflight.plan.architecture import known_architecture
from recipe.htpo.preflight.plan.topology import find_topology
from recipe.htpo.preflight.problem import Problem

ROLLOUT = "actor_rollout_ref.rollout"
TENSOR = f"{ROLLOUT}.tensor_model_parallel_size"


def check_serving(config: DictConfig) -> Iterator[Problem]:
    """Replicas divide the GPUs of the cluster and of a node, and the model's heads; the limits of a step agree."""
    topology, rollout = find_topology(config), config.actor_rollout_ref.rollout
    replica = topology.rollout_replica
    if topology.rollout_gpus % replica:
        yield Problem(
            TENSOR,
            f"x data_parallel_size = {replica} GPUs of a replica, of which {topology.rollout_gpus} is no multiple",
            "choose a divisor of the GPUs",
        )
    elif replica % min(rollout.n_gpus_per_node, replica):
        yield Problem(
            TENSOR,
            f"x data_parallel_size = {replica} GPUs of a replica are no multiple of the {rollout.n_gpus_per_node} of a "
            "node",
            "choose a divisor or a multiple of a node's GPUs",
        )
    elif replica < rollout.n_gpus_per_node and rollout.n_gpus_per_node % replica:
        yield Problem(
            TENSOR,
            f"x data_parallel_size = {replica} GPUs of a replica do not divide the {rollout.n_gpus_per_node} of a "
            "node: a replica would lie across nodes",
            "choose a divisor of a node's GPUs",
        )
    model = known_architecture(config)
    if model is not None:
        tensor = topology.rollout_tensor
        if model.num_heads % tensor or (model.num_kv_heads % tensor and tensor % model.num_kv_heads):
            yield Problem(
                TENSOR,
                f"is {tensor}, which does not fit {model.num_heads} attention heads and {model.num_kv_heads} key and "
                f"value heads of {model.name}",
                "choose a divisor of both",
            )
    if not 0 < rollout.gpu_memory_utilization <= 1:
        yield Problem(
            f"{ROLLOUT}.gpu_memory_utilization",
            f"is {rollout.gpu_memory_utilization}",
            "set it to a share of the GPU's memory between 0 and 1",
        )
    if rollout.max_num_batched_tokens < rollout.max_num_seqs:
        yield Problem(
            f"{ROLLOUT}.max_num_batched_tokens",
            f"is {rollout.max_num_batched_tokens}, less than max_num_seqs={rollout.max_num_seqs}, which vLLM refuses",
            f"raise it to at least {rollout.max_num_seqs}, or lower max_num_seqs",
        )
