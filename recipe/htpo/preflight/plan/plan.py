# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The plan of a run: everything that `show.print_plan` prints, as numbers."""

from dataclasses import dataclass
from math import ceil

from omegaconf import DictConfig

from recipe.htpo.preflight.plan.architecture import (
    Architecture,
    UnknownArchitectureError,
    find_architecture,
    known_architecture,
)
from recipe.htpo.preflight.plan.checkpoint_size import checkpoint_bytes
from recipe.htpo.preflight.plan.rollout_memory import RolloutSettings, kv_cache_tokens, rollout_phase
from recipe.htpo.preflight.plan.step_time import StepTime, StepWork, on_nodes, step_time
from recipe.htpo.preflight.plan.topology import Topology, find_topology
from recipe.htpo.preflight.plan.training_memory import PhaseMemory, TrainingSettings, model_state, training_phases

GIB = 2**30
# An estimate of memory this close to the whole GPU is no promise that it fits.
TIGHT = 0.9
NODES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Work:
    """What one step does; token counts are upper limits, all sequences at full length."""

    prompts: int
    responses: int
    sequence_tokens: int
    updates: int
    responses_per_rank_and_update: int
    micro_batches_per_update: int

    @property
    def tokens(self) -> int:
        """Tokens of a step at most."""
        return self.responses * self.sequence_tokens


@dataclass(frozen=True)
class Memory:
    """Memory of one GPU by phase, and what the KV cache holds."""

    phases: dict[str, PhaseMemory]
    kv_cache_tokens: int
    full_sequences_per_replica: int


@dataclass(frozen=True)
class Plan:
    """Numbers of a run. `memory` and `checkpoint` are None where the model is unknown; `missing` says why."""

    topology: Topology
    work: Work
    model: Architecture | None
    memory: Memory | None
    time: StepTime | None
    # Nodes -> the same step on so many.
    growth: dict[int, StepTime]
    checkpoint: int | None
    checkpoints_kept: int | None
    gpu_bytes: float
    missing: str | None

    @property
    def warnings(self) -> list[str]:
        """What the estimate speaks against; not refused, since it is an estimate."""
        if self.memory is None:
            return []
        found = [
            f"{phase}: about {memory.total / GIB:.0f} GiB, the GPU has {self.gpu_bytes / GIB:.0f} (htpo.gpu_memory_gib)"
            for phase, memory in self.memory.phases.items()
            if memory.total > (self.gpu_bytes if phase == "rollout" else TIGHT * self.gpu_bytes)
        ]
        if self.memory.full_sequences_per_replica < 1:
            found.append("the KV cache of a vLLM replica holds less than one sequence of full length")
        return found


def make_plan(config: DictConfig) -> Plan:
    """The plan of a configuration without problems; on the CPU platform memory is not estimated."""
    topology = find_topology(config)
    model, missing = None, None
    try:
        model = find_architecture(str(config.actor_rollout_ref.model.path))
    except UnknownArchitectureError as error:
        missing = str(error)
    on_cpu = config.trainer.device == "cpu"
    memory = None if model is None or on_cpu else _memory(config, topology, model)
    time, growth = None, {}
    if model is not None and memory is not None:
        work = _step_work(config, memory)
        time = step_time(model, topology, work)
        steps = {nodes: on_nodes(model, topology, work, nodes) for nodes in NODES}
        growth = {nodes: step for nodes, step in steps.items() if step is not None}
    return Plan(
        topology=topology,
        work=_work(config, topology),
        model=model,
        memory=memory,
        time=time,
        growth=growth,
        checkpoint=None if model is None else _checkpoint(config, model),
        checkpoints_kept=config.trainer.max_actor_ckpt_to_keep,
        gpu_bytes=config.htpo.gpu_memory_gib * GIB,
        missing="no GPU memory is used" if on_cpu and missing is None else missing,
    )


def checkpoint_estimate(config: DictConfig) -> int | None:
    """Bytes of one checkpoint, None where the model is unknown."""
    model = known_architecture(config)
    return None if model is None else _checkpoint(config, model)


def _checkpoint(config: DictConfig, model: Architecture) -> int:
    actor = config.actor_rollout_ref.actor
    megatron = actor.strategy == "megatron"
    return checkpoint_bytes(
        model,
        "megatron" if megatron else "fsdp",
        actor.checkpoint.save_contents,
        _has_fp32_weights(config),
        dist_checkpointing=megatron and actor.megatron.use_dist_checkpointing,
    )


def _has_fp32_weights(config: DictConfig) -> bool:
    actor = config.actor_rollout_ref.actor
    name = actor.megatron.dtype if actor.strategy == "megatron" else actor.fsdp_config.model_dtype
    return name in ("fp32", "float32")


def _work(config: DictConfig, topology: Topology) -> Work:
    actor, n = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout.n
    sequence = config.data.max_prompt_length + config.data.max_response_length
    responses_per_rank = actor.ppo_mini_batch_size * n // topology.data
    if actor.use_dynamic_bsz:
        budget = actor.ppo_max_token_len_per_gpu * topology.context
        micro_batches = min(ceil(responses_per_rank * sequence / budget), responses_per_rank)
    else:
        micro_batches = ceil(responses_per_rank / actor.ppo_micro_batch_size_per_gpu)
    return Work(
        prompts=config.data.train_batch_size,
        responses=config.data.train_batch_size * n,
        sequence_tokens=sequence,
        updates=config.data.train_batch_size // actor.ppo_mini_batch_size * actor.ppo_epochs,
        responses_per_rank_and_update=responses_per_rank,
        micro_batches_per_update=micro_batches,
    )


def _step_work(config: DictConfig, memory: Memory) -> StepWork:
    rollout = config.actor_rollout_ref.rollout
    return StepWork(
        responses=config.data.train_batch_size * rollout.n,
        prompt_tokens=config.data.max_prompt_length,
        response_tokens=config.data.max_response_length,
        ppo_epochs=config.actor_rollout_ref.actor.ppo_epochs,
        concurrent=min(memory.full_sequences_per_replica, rollout.max_num_seqs * rollout.data_parallel_size),
    )


def _memory(config: DictConfig, topology: Topology, model: Architecture) -> Memory:
    engine = config.actor_rollout_ref.actor["megatron" if topology.engine == "megatron" else "fsdp_config"]
    training = _training_settings(config, topology)
    log_prob, update = training_phases(model, topology, training)
    rollout = rollout_phase(
        model,
        topology,
        RolloutSettings(
            gpu_bytes=config.htpo.gpu_memory_gib * GIB,
            gpu_memory_utilization=config.actor_rollout_ref.rollout.gpu_memory_utilization,
            colocated=topology.colocated,
            param_offload=engine.param_offload,
            optimizer_offload=engine.optimizer_offload,
        ),
        model_state(model, topology, training.fp32_weights),
    )
    tokens = kv_cache_tokens(model, topology, rollout)
    sequence = config.data.max_prompt_length + config.data.max_response_length
    return Memory(
        phases={"rollout": rollout, "log_prob": log_prob, "update": update},
        kv_cache_tokens=tokens,
        full_sequences_per_replica=tokens // sequence,
    )


def _training_settings(config: DictConfig, topology: Topology) -> TrainingSettings:
    actor, rollout, model = (config.actor_rollout_ref[name] for name in ("actor", "rollout", "model"))
    sequence = config.data.max_prompt_length + config.data.max_response_length
    if actor.use_dynamic_bsz:
        update, log_prob = actor.ppo_max_token_len_per_gpu, rollout.log_prob_max_token_len_per_gpu
    else:
        update = ceil(actor.ppo_micro_batch_size_per_gpu * sequence / topology.context)
        log_prob = ceil(rollout.log_prob_micro_batch_size_per_gpu * sequence / topology.context)
    computes_entropy = bool(actor.calculate_entropy or actor.entropy_coeff)
    chunk_size = actor.entropy_from_logits_chunk_size if actor.entropy_from_logits_with_chunking else 0
    if topology.engine == "megatron":
        engine = actor.megatron
        transformer = engine.override_transformer_config
        full = transformer.get("recompute_granularity") == "full"
        return TrainingSettings(
            tokens_update=update,
            tokens_log_prob=log_prob,
            recompute_layers=(transformer.get("recompute_num_layers") or 1) if full else 0,
            param_offload=engine.param_offload,
            optimizer_offload=engine.optimizer_offload,
            sequence_parallel=engine.sequence_parallel,
            fp32_weights=False,
            update_computes_entropy=computes_entropy,
            entropy_chunk_size=chunk_size,
        )
    engine = actor.fsdp_config
    return TrainingSettings(
        tokens_update=update,
        tokens_log_prob=log_prob,
        recompute_layers=int(model.enable_gradient_checkpointing),
        param_offload=engine.param_offload,
        optimizer_offload=engine.optimizer_offload,
        sequence_parallel=False,
        fp32_weights=_has_fp32_weights(config),
        update_computes_entropy=computes_entropy,
        entropy_chunk_size=chunk_size,
    )
