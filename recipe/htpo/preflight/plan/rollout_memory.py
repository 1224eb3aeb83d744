# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Bytes that generation takes on one GPU, and how many sequences its KV cache holds. An estimate, as for training.

vLLM takes `gpu_memory_utilization` of the GPU: weights, what a prefill step needs, and the rest is KV cache
(https://docs.vllm.ai/en/latest/configuration/conserving_memory.html). A token's keys and values take
`2 x layers x key heads x head size x 2` bytes in bf16, divided by the tensor-parallel size while there are heads to
divide.
"""

from dataclasses import dataclass

from recipe.htpo.preflight.plan.architecture import Architecture
from recipe.htpo.preflight.plan.topology import Topology
from recipe.htpo.preflight.plan.training_memory import ModelState, PhaseMemory

# Activations of a prefill step, the sampler's logits and CUDA graphs, inside vLLM's share: an assumption.
VLLM_OTHER_BYTES = 4 * 2**30
# Contexts of CUDA and NCCL of the waiting trainer, outside vLLM's share: an assumption.
TRAINER_OTHER_BYTES = 2 * 2**30


@dataclass(frozen=True)
class RolloutSettings:
    """What the memory of generation depends on beside the model and the topology."""

    gpu_bytes: float
    gpu_memory_utilization: float
    # Whether the trainer is on the same GPUs, and what of it stays there.
    colocated: bool
    param_offload: bool
    optimizer_offload: bool


def kv_bytes_per_token(model: Architecture, tensor: int) -> float:
    """Bytes of one token's keys and values on one of `tensor` GPUs, in bf16."""
    heads = max(model.num_kv_heads / tensor, 1)
    return 2 * model.num_layers * heads * model.head_dim * 2


def rollout_phase(
    model: Architecture, topology: Topology, settings: RolloutSettings, trainer: ModelState
) -> PhaseMemory:
    """Memory while vLLM generates: its share, and what the trainer leaves on the GPU."""
    share = settings.gpu_bytes * settings.gpu_memory_utilization
    weights = 2 * model.parameters / topology.rollout_tensor
    keeps_weights = settings.colocated and not settings.param_offload
    keeps_optimizer = settings.colocated and not settings.optimizer_offload
    # FSDP frees its gradients after the step; Megatron's are one buffer that stays with the weights.
    keeps_gradients = keeps_weights and topology.engine == "megatron"
    return PhaseMemory(
        weights=weights + (trainer.weights if keeps_weights else 0.0),
        gradients=trainer.gradients if keeps_gradients else 0.0,
        optimizer=trainer.optimizer if keeps_optimizer else 0.0,
        kv_cache=max(share - weights - VLLM_OTHER_BYTES, 0.0),
        other=VLLM_OTHER_BYTES + (TRAINER_OTHER_BYTES if settings.colocated else 0),
    )


def kv_cache_tokens(model: Architecture, topology: Topology, rollout: PhaseMemory) -> int:
    """Tokens whose keys and values one vLLM replica holds at once; each of its data-parallel engines has a cache."""
    return int(rollout.kv_cache / kv_bytes_per_token(model, topology.rollout_tensor)) * topology.rollout_data
