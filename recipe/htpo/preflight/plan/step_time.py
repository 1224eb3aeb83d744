# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Seconds that a step takes, by phase: a model, never compared with a GPU run.

All sequences have full length, so it is an upper limit as far as lengths go. Training is counted in operations: per
token and forward pass `2 x active parameters` and for causal attention `2 x layers x query features x length`; the
update takes three times that, and one more for the layers that it recomputes. Generation is counted in bytes: a
decoding step reads the weights once and the keys and values of all running sequences. The weights then go to vLLM once.
"""

from dataclasses import dataclass, replace
from math import ceil

from recipe.htpo.preflight.plan.architecture import Architecture
from recipe.htpo.preflight.plan.memory import kv_bytes_per_token, rollout_weight_bytes
from recipe.htpo.preflight.plan.topology import Topology

# NVIDIA H100 SXM data sheet: dense bf16 operations and bytes of HBM3 in a second.
PEAK_FLOPS = 989e12
HBM_BYTES = 3.35e12

# Share of the peak in training, without recomputed operations, of runs that recompute every layer (an assumption for
# those runs). Megatron: published logs of 7B and 30B-A3B runs, with fused rotary embedding. FSDP: the 7B value without
# the fusion, an assumption; its experts are not grouped, the same.
MFU = {("megatron", False): 0.44, ("megatron", True): 0.157, ("fsdp", False): 0.36, ("fsdp", True): 0.10}

# Assumptions: share of the memory's speed that decoding reaches, and bytes a second with which a GPU gets new weights
# (one 400 Gbit/s adapter for each).
DECODE_SHARE = 0.6
SYNC_BYTES = 50e9


@dataclass(frozen=True)
class StepTime:
    """Seconds of the phases of a step; `reference` is 0 without a reference policy."""

    generation: float
    log_prob: float
    reference: float
    update: float
    sync: float
    gpus: int

    @property
    def total(self) -> float:
        """All phases, one after the other."""
        return self.generation + self.log_prob + self.reference + self.update + self.sync

    @property
    def gpu_hours(self) -> float:
        """What a step costs."""
        return self.total * self.gpus / 3600


@dataclass(frozen=True)
class Work:
    """What one step does; token counts are upper limits, all sequences at full length. The last fields say how fast."""

    prompts: int
    responses: int
    prompt_tokens: int
    response_tokens: int
    ppo_epochs: int
    updates: int
    responses_per_rank_and_update: int
    micro_batches_per_update: int
    reference: bool = False
    # Sequences that a vLLM replica runs at once, share of the layers that the update computes again, bytes of a weight
    # of vLLM's layers.
    concurrent: int = 1
    recomputed: float = 1.0
    weight_bytes: int = 2

    @property
    def sequence_tokens(self) -> int:
        """Tokens of prompt and response."""
        return self.prompt_tokens + self.response_tokens

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.responses * self.sequence_tokens


def active_parameters(model: Architecture) -> int:
    """Parameters that a token is multiplied with: the chosen experts, and the output layer without the embedding."""
    experts = model.experts_per_token * 3 * model.hidden_size * model.moe_intermediate_size
    layer = model.attention_parameters + model.mlp_parameters + experts
    return model.num_layers * layer + model.embedding_parameters


def forward_flops_per_token(model: Architecture, length: int) -> float:
    """Operations per token of a forward pass over sequences of `length` tokens."""
    return 2 * active_parameters(model) + 2 * model.num_layers * model.query_size * length


def step_time(model: Architecture, topology: Topology, work: Work) -> StepTime:
    """The model above; whole waves of sequences where a replica cannot run all of its own at once."""
    length = work.sequence_tokens
    # Of a forward pass: the published share counts three of the four that those runs made.
    rate = topology.world * PEAK_FLOPS * MFU[topology.engine, bool(model.num_experts)] * 4 / 3
    forward = work.responses * length * forward_flops_per_token(model, length) / rate
    mine = ceil(work.responses / topology.rollout_replicas)
    running = max(min(mine, work.concurrent), 1)
    weights = rollout_weight_bytes(model, work.weight_bytes) / topology.rollout_tensor
    context = work.prompt_tokens + work.response_tokens / 2
    cache = running / topology.rollout_data * context * kv_bytes_per_token(model, topology.rollout_tensor)
    decoding = work.response_tokens * (weights + cache) / (HBM_BYTES * DECODE_SHARE)
    return StepTime(
        generation=ceil(mine / running) * decoding,
        log_prob=forward,
        reference=forward if work.reference else 0.0,
        update=(3 + work.recomputed) * forward * work.ppo_epochs,
        sync=weights / SYNC_BYTES,
        gpus=topology.world,
    )


def on_nodes(model: Architecture, topology: Topology, work: Work, nodes: int) -> StepTime | None:
    """The same step on another number of nodes; None where they hold no whole group of GPUs, or the responses of an
    update do not divide over them.
    """
    grown = replace(topology, nodes=nodes)
    groups = grown.model_parallel, grown.expert_parallel, grown.shards, grown.rollout_replica
    responses = work.responses_per_rank_and_update * topology.data
    if any(grown.world % group for group in groups) or responses % grown.data:
        return None
    return step_time(model, grown, work)
