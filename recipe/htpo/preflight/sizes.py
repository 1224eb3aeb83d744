# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""One table of divisibility: sizes that have to divide others, over GPUs, nodes, heads, layers, experts and batches.

Before it: the sizes that are calculated with are positive whole numbers. After it: a micro-batch holds a sequence of
full length.
"""

from collections.abc import Iterator
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf

from recipe.htpo.preflight.plan.architecture import Architecture, known_architecture
from recipe.htpo.preflight.plan.topology import Topology, find_topology, has_reference, ulysses_size
from recipe.htpo.preflight.settings import ACTOR, FSDP, MEGATRON, REF, ROLLOUT, TRANSFORMER
from recipe.htpo.problem import Problem

TENSOR, PIPELINE, VIRTUAL, EXPERT, EXPERT_TENSOR = (
    f"{MEGATRON}.{name}_parallel_size"
    for name in ("tensor_model", "pipeline_model", "virtual_pipeline_model", "expert_model", "expert_tensor")
)
ULYSSES = f"{ACTOR}.ulysses_sequence_parallel_size"
ROLLOUT_TENSOR = f"{ROLLOUT}.tensor_model_parallel_size"

# With `?`, null has a meaning of its own.
POSITIVE = {
    "data": "train_batch_size max_prompt_length max_response_length",
    "trainer": "nnodes n_gpus_per_node total_epochs total_training_steps? max_actor_ckpt_to_keep?",
    ACTOR: "ppo_mini_batch_size ppo_epochs ppo_max_token_len_per_gpu ppo_micro_batch_size_per_gpu? "
    "entropy_from_logits_chunk_size",
    REF: "log_prob_max_token_len_per_gpu",
    ROLLOUT: "n n_gpus_per_node tensor_model_parallel_size data_parallel_size max_num_batched_tokens max_num_seqs "
    "max_model_len? log_prob_max_token_len_per_gpu log_prob_micro_batch_size_per_gpu?",
    f"{ROLLOUT}.val_kwargs": "n",
}
POSITIVE_MEGATRON = {
    MEGATRON: "tensor_model_parallel_size pipeline_model_parallel_size context_parallel_size "
    "expert_model_parallel_size expert_tensor_parallel_size? virtual_pipeline_model_parallel_size?",
    TRANSFORMER: "recompute_num_layers?",
}
POSITIVE_FSDP = {ACTOR: "ulysses_sequence_parallel_size", FSDP: "ulysses_sequence_parallel_size"}

# With these in override_transformer_config stages may hold different numbers of layers.
UNEVEN_STAGES = (
    "num_layers_in_first_pipeline_stage",
    "num_layers_in_last_pipeline_stage",
    "account_for_embedding_in_pipeline_split",
    "account_for_loss_in_pipeline_split",
    "pipeline_model_parallel_layout",
)


class Divides(NamedTuple):
    """A row of the table: `size` divides `whole`, or `field` is refused. The texts may name both."""

    field: str
    size: int
    whole: int
    message: str
    remedy: str


def check_numbers(config: DictConfig) -> Iterator[Problem]:
    """Every size that is calculated with is a whole number of at least 1; `fsdp_size` may be -1, too."""
    engine = POSITIVE_MEGATRON if config.model_engine == "megatron" else POSITIVE_FSDP
    for section, names in (*POSITIVE.items(), *engine.items()):
        for name in names.split():
            field = f"{section}.{name.rstrip('?')}"
            value = OmegaConf.select(config, field)
            if value is None and name.endswith("?"):
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                null = " or null" if name.endswith("?") else ""
                yield Problem(field, f"is {value}", f"set it to a whole number of at least 1{null}")
    if config.model_engine != "megatron":
        shards = OmegaConf.select(config, f"{FSDP}.fsdp_size")
        if not isinstance(shards, int) or isinstance(shards, bool) or not (shards == -1 or shards > 0):
            yield Problem(f"{FSDP}.fsdp_size", f"is {shards}", "set it to a number of GPUs, or -1 for all")


def check_divisions(config: DictConfig) -> Iterator[Problem]:
    """The rows that do not divide."""
    topology, model = find_topology(config), known_architecture(config)
    rows = [*_batches(config, topology), *_replicas(config, topology)]
    rows += _megatron(config, topology) if topology.engine == "megatron" else _fsdp(topology)
    if model is not None:
        rows += _model(config, topology, model)
    for field, size, whole, message, remedy in rows:
        if whole % size:
            names = {"size": size, "whole": whole, "divisors": ", ".join(map(str, divisors(whole)))}
            yield Problem(field, message.format_map(names), remedy.format_map(names))


# fmt: off
def _batches(config: DictConfig, topology: Topology) -> Iterator[Divides]:
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    batch, mini_batch, ranks = config.data.train_batch_size, actor.ppo_mini_batch_size, topology.data
    yield Divides(f"{ACTOR}.ppo_mini_batch_size", mini_batch, batch,
                  "is {size}, which does not divide data.train_batch_size={whole}", "choose one of {divisors}")
    if not ranks:
        return
    yield Divides(f"{ACTOR}.ppo_mini_batch_size", ranks, mini_batch * rollout.n,
                  "x rollout.n = {whole} responses do not divide over {size} data-parallel ranks",
                  "change ppo_mini_batch_size or rollout.n so that their product is a multiple of the ranks")
    if actor.use_dynamic_bsz or rollout.log_prob_use_dynamic_bsz:
        return
    for field, prompts in ((f"{ACTOR}.ppo_micro_batch_size_per_gpu", mini_batch),
                           (f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu", batch)):
        yield Divides(field, OmegaConf.select(config, field) or 1, prompts * rollout.n // ranks,
                      "is {size}, which does not divide the {whole} responses of a data-parallel rank",
                      "choose one of {divisors}, or use_dynamic_bsz=True")


def _replicas(config: DictConfig, topology: Topology) -> Iterator[Divides]:
    replica, node = topology.rollout_replica, config.actor_rollout_ref.rollout.n_gpus_per_node
    yield Divides(ROLLOUT_TENSOR, replica, topology.world,
                  "x data_parallel_size = {size} GPUs of a replica, of which {whole} is no multiple",
                  "choose a divisor of the GPUs")
    if topology.world % replica == 0 and replica > node:
        yield Divides(ROLLOUT_TENSOR, node, replica,
                      "x data_parallel_size = {whole} GPUs of a replica are no multiple of the {size} of a node",
                      "choose a divisor or a multiple of a node's GPUs")
    elif topology.world % replica == 0:
        yield Divides(ROLLOUT_TENSOR, replica, node,
                      "x data_parallel_size = {size} GPUs of a replica do not divide the {whole} of a node: a replica "
                      "would lie across nodes", "choose a divisor of a node's GPUs")


def _megatron(config: DictConfig, topology: Topology) -> Iterator[Divides]:
    yield Divides(TENSOR, topology.model_parallel, topology.world,
                  "x pipeline_model_parallel_size x context_parallel_size = {size} GPUs, of which {whole} is no "
                  "multiple", "change them, or trainer.nnodes and trainer.n_gpus_per_node")
    yield Divides(EXPERT, topology.expert_parallel, topology.world,
                  "x expert_tensor_parallel_size x pipeline_model_parallel_size = {size} GPUs, of which {whole} is no "
                  "multiple (expert_tensor_parallel_size=null means tensor_model_parallel_size)",
                  "change them; expert_tensor_parallel_size=1 keeps each expert whole")
    if topology.virtual_pipeline > 1 and topology.data:
        # verl/workers/engine/megatron/transformer_impl.py, forward_backward_batch; at full length each may be alone
        actor = config.actor_rollout_ref.actor
        responses = actor.ppo_mini_batch_size * config.actor_rollout_ref.rollout.n // topology.data
        alone = 1 if actor.use_dynamic_bsz else actor.ppo_micro_batch_size_per_gpu or 1
        yield Divides(VIRTUAL, topology.pipeline, responses // alone,
                      "wants micro-batches in multiples of the {size} pipeline stages, and a data-parallel rank has up "
                      "to {whole} in an update", "set it to null, or change ppo_mini_batch_size or rollout.n")


def _fsdp(topology: Topology) -> Iterator[Divides]:
    yield Divides(ULYSSES, topology.context, topology.world, "is {size}, which does not divide {whole} GPUs",
                  "choose a divisor of them")
    yield Divides(f"{FSDP}.fsdp_size", topology.shards, topology.world, "is {size}, which does not divide {whole} GPUs",
                  "choose a divisor of them, or -1 for all")


def _model(config: DictConfig, topology: Topology, model: Architecture) -> Iterator[Divides]:
    yield from _heads(ROLLOUT_TENSOR, topology.rollout_tensor, model, "choose a divisor of both")
    if topology.engine == "fsdp":
        yield from _heads(ULYSSES, topology.context, model, "choose a divisor")
        return
    yield from _heads(TENSOR, topology.tensor, model, "choose a divisor")
    overrides = config.actor_rollout_ref.actor.megatron.override_transformer_config
    if not any(overrides.get(name) for name in UNEVEN_STAGES):
        yield Divides(PIPELINE, topology.pipeline, model.num_layers,
                      f"is {{size}}, which does not divide the {{whole}} layers of {model.name}",
                      f"choose a divisor, or set {TRANSFORMER}.num_layers_in_last_pipeline_stage")
        if topology.pipeline > 1 and model.num_layers % topology.pipeline == 0:
            yield Divides(VIRTUAL, topology.virtual_pipeline, model.num_layers // topology.pipeline,
                          "is {size}, which does not divide the {whole} layers of a stage", "choose a divisor, or null")
    yield Divides(EXPERT, topology.expert, model.num_experts,
                  f"is {{size}}, which does not divide the {{whole}} experts of {model.name}", "choose a divisor")
    yield Divides(EXPERT_TENSOR, topology.expert_tensor, model.moe_intermediate_size,
                  "is {size}, which does not divide an expert's size {whole}",
                  "choose a divisor; 1 keeps each expert whole")


def _heads(field: str, size: int, model: Architecture, remedy: str) -> Iterator[Divides]:
    """Query heads divide by `size`; key heads do, or are repeated (megatron-core TransformerConfig; verl's Ulysses)."""
    yield Divides(field, size, model.num_heads,
                  f"is {{size}}, which does not divide the {{whole}} attention heads of {model.name}", remedy)
    if model.num_heads % size == 0:
        yield Divides(field, min(size, model.num_kv_heads), max(size, model.num_kv_heads),
                      f"is {size}, neither divisor nor multiple of the {model.num_kv_heads} key and value heads of "
                      f"{model.name}", remedy)
# fmt: on


def check_micro_batches(config: DictConfig) -> Iterator[Problem]:
    """A sequence of full length fits the tokens of a micro-batch, of the update and of the log-probabilities.

    verl multiplies a budget by the GPUs that share a sequence (verl/workers/engine/utils.py:99).
    """
    actor, rollout, reference = (config.actor_rollout_ref[role] for role in ("actor", "rollout", "ref"))
    if not (actor.use_dynamic_bsz or rollout.log_prob_use_dynamic_bsz):
        for field in (f"{ACTOR}.ppo_micro_batch_size_per_gpu", f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu"):
            if OmegaConf.select(config, field) is None:
                yield Problem(field, "has no value, but use_dynamic_bsz=False", "set it, or use_dynamic_bsz=True")
        return
    gpus = find_topology(config).context
    budgets = [(f"{ACTOR}.ppo_max_token_len_per_gpu", gpus), (f"{ROLLOUT}.log_prob_max_token_len_per_gpu", gpus)]
    if has_reference(config):
        share = gpus if actor.strategy == "megatron" else ulysses_size(reference)
        budgets.append((f"{REF}.log_prob_max_token_len_per_gpu", share))
    longest = config.data.max_prompt_length + config.data.max_response_length
    reported = set()
    for field, share in budgets:
        budget = OmegaConf.select(config, field)
        # The second and third follow the first unless they are set.
        if budget * share < longest and (budget, share) not in reported:
            reported.add((budget, share))
            on = f" on each of the {share} GPUs that share a sequence" if share > 1 else ""
            yield Problem(
                field,
                f"is {budget}{on}, less than the longest sequence {longest}",
                f"raise it to at least {-(-longest // share)}",
            )


def divisors(number: int) -> list[int]:
    """All divisors of a positive number."""
    return [candidate for candidate in range(1, number + 1) if number % candidate == 0]
