# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The GPUs divide into the groups that training asks for, and the model divides over them."""

from collections.abc import Iterator

from omegaconf import DictConfig

from recipe.htpo.preflight.plan.architecture import Architecture, known_architecture
from recipe.htpo.preflight.plan.topology import Topology, find_topology
from recipe.htpo.preflight.problem import Problem

ACTOR = "actor_rollout_ref.actor"
MEGATRON = f"{ACTOR}.megatron"
TENSOR = f"{MEGATRON}.tensor_model_parallel_size"
PIPELINE = f"{MEGATRON}.pipeline_model_parallel_size"
VIRTUAL = f"{MEGATRON}.virtual_pipeline_model_parallel_size"
EXPERT = f"{MEGATRON}.expert_model_parallel_size"
EXPERT_TENSOR = f"{MEGATRON}.expert_tensor_parallel_size"
ULYSSES = f"{ACTOR}.ulysses_sequence_parallel_size"

# Fields of override_transformer_config with which stages may hold different numbers of layers.
UNEVEN_STAGES = (
    "num_layers_in_first_pipeline_stage",
    "num_layers_in_last_pipeline_stage",
    "account_for_embedding_in_pipeline_split",
    "account_for_loss_in_pipeline_split",
    "pipeline_model_parallel_layout",
)


def check_training_groups(config: DictConfig) -> Iterator[Problem]:
    """Tensor, pipeline, context, expert and sequence parallelism divide GPUs, heads, layers and experts."""
    topology = find_topology(config)
    model = known_architecture(config)
    if topology.engine == "megatron":
        yield from _megatron_groups(topology)
        if model is not None:
            yield from _megatron_model(config, topology, model)
    else:
        yield from _fsdp(config, topology, model)


def _megatron_groups(topology: Topology) -> Iterator[Problem]:
    if topology.world % topology.model_parallel:
        yield Problem(
            TENSOR,
            f"x pipeline_model_parallel_size x context_parallel_size = {topology.model_parallel} GPUs, of which "
            f"{topology.world} is no multiple",
            "change them, or trainer.nnodes and trainer.n_gpus_per_node",
        )
    experts = topology.expert * topology.expert_tensor * topology.pipeline
    if topology.world % experts:
        yield Problem(
            EXPERT,
            f"x expert_tensor_parallel_size x pipeline_model_parallel_size = {experts} GPUs, of which "
            f"{topology.world} is no multiple (expert_tensor_parallel_size=null means tensor_model_parallel_size)",
            "change them; expert_tensor_parallel_size=1 keeps each expert whole",
        )
    if topology.virtual_pipeline > 1 and topology.pipeline == 1:
        yield Problem(
            VIRTUAL,
            f"is {topology.virtual_pipeline}, but there is one pipeline stage",
            f"set it to null, or {PIPELINE}",
        )


def _megatron_model(config: DictConfig, topology: Topology, model: Architecture) -> Iterator[Problem]:
    yield from _heads(TENSOR, topology.tensor, model)
    overrides = config.actor_rollout_ref.actor.megatron.override_transformer_config
    if not any(overrides.get(name) for name in UNEVEN_STAGES):
        stages = topology.pipeline * topology.virtual_pipeline
        if model.num_layers % topology.pipeline:
            yield Problem(
                PIPELINE,
                f"is {topology.pipeline}, which does not divide the {model.num_layers} layers of {model.name}",
                f"choose a divisor, or set {MEGATRON}.override_transformer_config.num_layers_in_last_pipeline_stage",
            )
        elif model.num_layers % stages:
            yield Problem(
                VIRTUAL,
                f"is {topology.virtual_pipeline}, which does not divide the {model.num_layers // topology.pipeline} "
                "layers of a stage",
                "choose a divisor, or null",
            )
    if topology.expert > 1 and not model.num_experts:
        yield Problem(EXPERT, f"is {topology.expert}, but {model.name} has no experts", "set it to 1")
    if not model.num_experts:
        return
    if model.num_experts % topology.expert:
        yield Problem(
            EXPERT,
            f"is {topology.expert}, which does not divide the {model.num_experts} experts of {model.name}",
            "choose a divisor",
        )
    if model.moe_intermediate_size % topology.expert_tensor:
        yield Problem(
            EXPERT_TENSOR,
            f"is {topology.expert_tensor}, which does not divide an expert's size {model.moe_intermediate_size}",
            "choose a divisor; 1 keeps each expert whole",
        )
    if topology.tensor > 1 and not config.actor_rollout_ref.actor.megatron.sequence_parallel:
        yield Problem(
            f"{MEGATRON}.sequence_parallel",
            "is False; Megatron trains experts under tensor parallelism with sequence parallelism only",
            "set it to True",
        )


def _fsdp(config: DictConfig, topology: Topology, model: Architecture | None) -> Iterator[Problem]:
    if topology.world % topology.context:
        yield Problem(
            ULYSSES, f"is {topology.context}, which does not divide {topology.world} GPUs", "choose a divisor of them"
        )
    if topology.world % topology.shards:
        yield Problem(
            f"{ACTOR}.fsdp_config.fsdp_size",
            f"is {topology.shards}, which does not divide {topology.world} GPUs",
            "choose a divisor of them, or -1 for all",
        )
    if topology.context > 1 and not config.actor_rollout_ref.model.use_remove_padding:
        yield Problem(
            ULYSSES,
            f"is {topology.context}, but sequences are padded",
            "set actor_rollout_ref.model.use_remove_padding=True, or it to 1",
        )
    if model is not None:
        yield from _heads(ULYSSES, topology.context, model)


def _heads(field: str, size: int, model: Architecture) -> Iterator[Problem]:
    """Query heads divide by `size`; key heads do, or are repeated (megatron-core TransformerConfig; verl's Ulysses)."""
    if model.num_heads % size:
        yield Problem(
            field,
            f"is {size}, which does not divide the {model.num_heads} attention heads of {model.name}",
            "choose a divisor",
        )
    elif model.num_kv_heads % size and size % model.num_kv_heads:
        yield Problem(
            field,
            f"is {size}, neither divisor nor multiple of the {model.num_kv_heads} key and value heads of {model.name}",
            "choose a divisor",
        )
