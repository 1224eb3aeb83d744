# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The plan of a run: everything that `show` prints, as numbers."""

from dataclasses import dataclass, replace
from math import ceil

from omegaconf import DictConfig, ListConfig

from recipe.htpo.preflight.plan import memory
from recipe.htpo.preflight.plan.architecture import (
    Architecture,
    UnknownArchitectureError,
    find_architecture,
    known_architecture,
)
from recipe.htpo.preflight.plan.memory import MemorySettings, PhaseMemory
from recipe.htpo.preflight.plan.step_time import StepTime, Work, on_nodes, step_time
from recipe.htpo.preflight.plan.topology import Topology, find_topology, has_reference

GIB = 2**30
# An estimate of memory this close to the whole GPU is no promise that it fits.
TIGHT = 0.9
NODES = (1, 2, 4, 8, 16, 32, 64)
# FSDP trains in fp32 where nothing is said.
FULL = ("fp32", "float32", None)


@dataclass(frozen=True)
class Memory:
    """Memory of one GPU by phase, what the KV cache holds, and a node's share of what is offloaded to the host."""

    phases: dict[str, PhaseMemory]
    kv_cache_tokens: int
    full_sequences_per_replica: int
    host_bytes_per_node: float


@dataclass(frozen=True)
class Plan:
    """Numbers of a run. `memory`, `time` and `checkpoint` are None where the model is unknown; `missing` says why."""

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
            f"{phase}: about {part.total / GIB:.0f} GiB, the GPU has {self.gpu_bytes / GIB:.0f} (htpo.gpu_memory_gib)"
            for phase, part in self.memory.phases.items()
            if part.total > (self.gpu_bytes if phase == "rollout" else TIGHT * self.gpu_bytes)
        ]
        if self.memory.full_sequences_per_replica < 1:
            found.append("the KV cache of a vLLM replica holds less than one sequence of full length")
        return found


def make_plan(config: DictConfig) -> Plan:
    """The plan of a configuration without problems; on the CPU platform memory and time are not estimated."""
    topology = find_topology(config)
    work = _work(config, topology)
    model, missing = None, None
    try:
        model = find_architecture(str(config.actor_rollout_ref.model.path))
    except UnknownArchitectureError as error:
        missing = str(error)
    needs, time, growth = None, None, {}
    if config.trainer.device == "cpu":
        missing = missing or "no GPU memory is used"
    elif model is not None:
        settings = _memory_settings(config, topology)
        needs = _memory(config, topology, model, settings)
        rollout = config.actor_rollout_ref.rollout
        running = min(needs.full_sequences_per_replica, rollout.max_num_seqs * rollout.data_parallel_size)
        work = replace(
            work, concurrent=running, recomputed=settings.recomputed, weight_bytes=settings.rollout_weight_bytes
        )
        time = step_time(model, topology, work)
        steps = {nodes: on_nodes(model, topology, work, nodes) for nodes in NODES}
        growth = {nodes: step for nodes, step in steps.items() if step is not None}
    return Plan(
        topology=topology,
        work=work,
        model=model,
        memory=needs,
        time=time,
        growth=growth,
        checkpoint=checkpoint_estimate(config),
        checkpoints_kept=config.trainer.max_actor_ckpt_to_keep,
        gpu_bytes=config.htpo.gpu_memory_gib * GIB,
        missing=missing,
    )


def checkpoint_estimate(config: DictConfig) -> int | None:
    """Bytes of one checkpoint, None where the model is unknown."""
    actor, model, topology = config.actor_rollout_ref.actor, known_architecture(config), find_topology(config)
    if model is None:
        return None
    megatron, contents = actor.strategy == "megatron", actor.checkpoint.save_contents
    return memory.checkpoint_bytes(
        model,
        "megatron" if megatron else "fsdp",
        contents if isinstance(contents, ListConfig) else (),
        (actor.megatron.dtype if megatron else actor.fsdp_config.model_dtype) in FULL,
        dist_checkpointing=megatron and actor.megatron.use_dist_checkpointing,
        replicas=1 if megatron else topology.world // topology.shards,
    )


def _sequence(config: DictConfig) -> int:
    return int(config.data.max_prompt_length + config.data.max_response_length)


def _work(config: DictConfig, topology: Topology) -> Work:
    actor, n = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout.n
    sequence = _sequence(config)
    responses_per_rank = actor.ppo_mini_batch_size * n // topology.data
    if actor.use_dynamic_bsz:
        # A sequence is whole in a micro-batch, and verl keeps to the budget.
        sequences = actor.ppo_max_token_len_per_gpu * topology.context // sequence
        micro_batches = ceil(responses_per_rank / sequences)
    else:
        micro_batches = ceil(responses_per_rank / actor.ppo_micro_batch_size_per_gpu)
    return Work(
        prompts=config.data.train_batch_size,
        responses=config.data.train_batch_size * n,
        prompt_tokens=config.data.max_prompt_length,
        response_tokens=config.data.max_response_length,
        ppo_epochs=actor.ppo_epochs,
        updates=config.data.train_batch_size // actor.ppo_mini_batch_size * actor.ppo_epochs,
        responses_per_rank_and_update=responses_per_rank,
        micro_batches_per_update=micro_batches,
        reference=has_reference(config),
    )


def _memory(config: DictConfig, topology: Topology, model: Architecture, settings: MemorySettings) -> Memory:
    log_prob, update = memory.training_phases(model, topology, settings)
    rollout = memory.rollout_phase(model, topology, settings)
    tokens = memory.kv_cache_tokens(model, topology, rollout)
    return Memory(
        phases={"rollout": rollout, "log_prob": log_prob, "update": update},
        kv_cache_tokens=tokens,
        full_sequences_per_replica=tokens // _sequence(config),
        host_bytes_per_node=memory.host_bytes_per_gpu(model, topology, settings) * topology.gpus_per_node,
    )


def _memory_settings(config: DictConfig, topology: Topology) -> MemorySettings:
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    if actor.use_dynamic_bsz:
        update, log_prob = actor.ppo_max_token_len_per_gpu, rollout.log_prob_max_token_len_per_gpu
    else:
        per_sequence = _sequence(config) / topology.context
        update = ceil(actor.ppo_micro_batch_size_per_gpu * per_sequence)
        log_prob = ceil(rollout.log_prob_micro_batch_size_per_gpu * per_sequence)
    megatron = topology.engine == "megatron"
    engine = actor.megatron if megatron else actor.fsdp_config
    if megatron:
        recomputed, unit = _recomputation(engine.override_transformer_config, topology, config)
    else:
        recomputed, unit = float(config.actor_rollout_ref.model.enable_gradient_checkpointing), 1
    return MemorySettings(
        tokens_update=update,
        tokens_log_prob=log_prob,
        recomputed=recomputed,
        recompute_unit=unit,
        param_offload=engine.param_offload,
        optimizer_offload=engine.optimizer_offload,
        sequence_parallel=megatron and engine.sequence_parallel,
        update_computes_entropy=bool(actor.calculate_entropy or actor.entropy_coeff),
        entropy_chunk_size=actor.entropy_from_logits_chunk_size if actor.entropy_from_logits_with_chunking else 0,
        fp32_weights=not megatron and engine.model_dtype in FULL,
        gpu_bytes=config.htpo.gpu_memory_gib * GIB,
        gpu_memory_utilization=rollout.gpu_memory_utilization,
        rollout_weight_bytes=1 if rollout.quantization == "fp8" else 2,
        reference=has_reference(config),
        reference_offload=not megatron or config.actor_rollout_ref.ref.megatron.param_offload,
        whole_gradients=not megatron and engine.use_no_sync_for_gradient_accumulation,
    )


def _recomputation(transformer: DictConfig, topology: Topology, config: DictConfig) -> tuple[float, int]:
    """Share of the layers that Megatron recomputes, and layers at a time; selective keeps what attention here has not.

    `uniform` recomputes all in units of `recompute_num_layers`, `block` so many layers of each stage.
    """
    if transformer.get("recompute_granularity") != "full":
        return 0.0, 1
    layers = transformer.get("recompute_num_layers") or 1
    if transformer.get("recompute_method") != "block":
        return 1.0, layers
    model = find_architecture(str(config.actor_rollout_ref.model.path))
    return min(layers * topology.pipeline * topology.virtual_pipeline / model.num_layers, 1.0), 1
