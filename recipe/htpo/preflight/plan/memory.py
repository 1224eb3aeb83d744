# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Bytes on one GPU, the one with the most to hold, in the phases of a step; and on disk. An estimate.

tests/htpo/preflight/test_calibration.py compares it with published runs; docs/cluster.md has the table.

Training in mixed precision, `P` parameters of a rank (Megatron: verl/utils/megatron_utils.py
`offload_megatron_model_to_cpu` lists the storages; arXiv 1910.02054 section 3.1 counts the same bytes):

| part | Megatron, distributed optimiser | FSDP2, fp32 weights |
| --- | --- | --- |
| weights | 2 P | 4 P / shards |
| gradients | 4 P | 4 P / shards |
| optimiser: master weights (Megatron) and Adam's two moments | 12 P / data-parallel ranks | 8 P / shards |
| gathered for computing | - | 2 bytes x (two layers + the root's own), and 6 for the gradient being reduced |

Activations of one layer follow arXiv 2205.05198 section 4 (its equation is for a GELU MLP of 4 h with dropout and
attention scores in memory); here for a gated MLP, no dropout, and attention that keeps no scores. In bf16, per token,
with h hidden, q and k features of all query and key heads, f of the MLP (of the chosen experts):

    norm inputs, residuals and projections' inputs   2 (6 h)
    queries, keys, values; again after norm and rotation; attention output   2 (3 q + 4 k)
    gate, up, their product and the activation   2 (4 f)

A recomputed layer (section 5 there) keeps its input only, 2 h bytes per token, and one unit of layers is recomputed at
a time. Sequence parallelism divides all of it by the tensor-parallel size; a pipeline's first stage holds as many
micro-batches as there are stages (1F1B).

vLLM takes `gpu_memory_utilization` of the GPU: weights, what a prefill step needs, and the rest is KV cache
(https://docs.vllm.ai/en/latest/configuration/conserving_memory.html). A token's keys and values take
`2 x layers x key heads x head size x 2` bytes in bf16, divided by the tensor-parallel size while there are heads to
divide.
"""

from collections.abc import Collection
from dataclasses import dataclass

from recipe.htpo.preflight.plan.architecture import Architecture
from recipe.htpo.preflight.plan.topology import Topology

# Bytes per logit that live at once at the peak, by engine and pass; V of a rank x tokens.
# FSDP: bf16 logits; flash-attn's cross-entropy writes the gradient in place; the product with the output layer may hold
# a second copy. Megatron: the last stage returns fp32 (Float16Module); verl clones the logits for the entropy
# (verl/workers/engine/megatron/transformer_impl.py:1215), whose softmax is a third fp32 buffer
# (verl/utils/megatron/tensor_parallel.py:106) unless it is computed in chunks; the cross-entropy works in place. An
# entropy in the update is kept for the backward pass, beside the bf16 logits.
LOGIT_BYTES = {
    ("fsdp", "log_prob"): 4,
    ("fsdp", "update"): 4,
    ("fsdp", "update_with_entropy"): 14,
    ("megatron", "log_prob"): 8,
    ("megatron", "update"): 8,
    ("megatron", "update_with_entropy"): 14,
}
# Without chunks, beside them: FSDP softmax and product in the logits' dtype (verl/utils/torch_functional.py:231),
# Megatron the fp32 softmax.
WHOLE_ENTROPY_BYTES = 4
# With chunks: fp32 logits, softmax and product of one chunk (verl/utils/torch_functional.py:248).
CHUNK_BYTES = 12

# The busiest expert rank gets this many times the average of tokens.
EXPERT_IMBALANCE = 2.0

# Assumptions: contexts of CUDA and NCCL for trainer and vLLM, CUDA graphs that a sleeping vLLM keeps, fragmentation;
# activations of a prefill step, the sampler's logits and CUDA graphs in vLLM's share; the waiting trainer's contexts.
OTHER_BYTES = 6 * 2**30
VLLM_OTHER_BYTES = 4 * 2**30
TRAINER_OTHER_BYTES = 2 * 2**30


@dataclass(frozen=True)
class MemorySettings:
    """What memory depends on beside the model and the topology."""

    tokens_update: int
    tokens_log_prob: int
    # Share of the layers that are recomputed, and layers that are so at a time.
    recomputed: float = 1.0
    recompute_unit: int = 1
    param_offload: bool = True
    optimizer_offload: bool = True
    sequence_parallel: bool = False
    update_computes_entropy: bool = False
    # 0: the entropy of all tokens at once.
    entropy_chunk_size: int = 0
    fp32_weights: bool = False
    gpu_bytes: float = 80 * 2**30
    gpu_memory_utilization: float = 0.8
    # Of vLLM's weights in the layers; embeddings stay in bf16.
    rollout_weight_bytes: int = 2
    # A reference policy for a KL term, and where its weights wait; FSDP's wait in host memory whatever is set
    # (verl/workers/engine/fsdp/transformer_impl.py, `CPUOffloadPolicy`).
    reference: bool = False
    reference_offload: bool = True
    # FSDP keeps the gradients of an update whole until its last micro-batch.
    whole_gradients: bool = False


@dataclass(frozen=True)
class PhaseMemory:
    """Bytes on one GPU in one phase of a step."""

    weights: float
    gradients: float = 0.0
    optimizer: float = 0.0
    gathered: float = 0.0
    activations: float = 0.0
    logits: float = 0.0
    kv_cache: float = 0.0
    other: float = OTHER_BYTES

    @property
    def total(self) -> float:
        """All parts."""
        return sum(vars(self).values())


@dataclass(frozen=True)
class ModelState:
    """Bytes of weights, gradients and optimiser of the busiest rank, and what FSDP gathers to compute."""

    weights: float
    gradients: float
    optimizer: float
    gathered_forward: float = 0.0
    gathered_backward: float = 0.0


def model_state(model: Architecture, topology: Topology, fp32_weights: bool) -> ModelState:
    """Weights, gradients and optimiser on the rank that holds most of them."""
    if topology.engine == "fsdp":
        size = 4 if fp32_weights else 2
        share = model.parameters / topology.shards
        # The embedding is a unit of its own unless tied, then it is the root's; so is the output layer.
        root = model.embedding_parameters
        gathered = 2 * (2 * model.layer_parameters + root)
        reduced = 6 * max(model.layer_parameters, root)
        return ModelState(share * size, share * size, share * 2 * size, gathered, gathered + reduced)
    layers = model.num_layers / topology.pipeline
    dense = layers * (model.layer_parameters - model.expert_parameters)
    # With one stage both embedding and output layer are here; with several each outer stage has one of them.
    copies = 2 if topology.pipeline == 1 and not model.tied_embeddings else 1
    dense = (dense + copies * model.embedding_parameters) / topology.tensor
    experts = layers * model.expert_parameters / (topology.expert * topology.expert_tensor)
    sharded = dense / (topology.data * topology.context) + experts / topology.expert_data
    return ModelState(2 * (dense + experts), 4 * (dense + experts), 12 * sharded)


def layer_activation_bytes(model: Architecture) -> float:
    """Bytes per token that one layer's backward pass needs, before any parallelism."""
    q, k, h = model.query_size, model.kv_size, model.hidden_size
    attention = 2 * (3 * q + 4 * k)
    if not model.num_experts:
        return 2 * 6 * h + attention + 2 * 4 * model.intermediate_size
    # Tokens are copied to their experts and back, once per chosen expert; router scores in fp32.
    experts = model.experts_per_token * (2 * 2 * h + 2 * 4 * model.moe_intermediate_size)
    return 2 * 6 * h + attention + EXPERT_IMBALANCE * experts + 2 * 4 * model.num_experts


def activation_bytes(model: Architecture, topology: Topology, settings: MemorySettings) -> float:
    """Peak of activations in the update on the first pipeline stage, for `tokens_update` tokens of a micro-batch."""
    layer = layer_activation_bytes(model)
    # 1F1B: the first of p stages has p micro-batches of num_layers / p layers in flight.
    recomputed = settings.recomputed * model.num_layers
    bytes_per_token = (model.num_layers - recomputed) * layer
    if recomputed:
        # The unit that is recomputed, and the gradients of the widest pair of its tensors, gate and up.
        gradients = 4 * (model.hidden_size if model.num_experts else model.intermediate_size)
        unit = settings.recompute_unit
        bytes_per_token += recomputed / unit * 2 * model.hidden_size + unit * layer + gradients
    return settings.tokens_update * bytes_per_token / _split(topology, settings)


def logits_bytes(model: Architecture, topology: Topology, settings: MemorySettings, phase: str) -> float:
    """Peak of buffers of vocabulary size on the last pipeline stage; `phase` is log_prob or update."""
    tokens = settings.tokens_log_prob if phase == "log_prob" else settings.tokens_update
    entropy = phase == "log_prob" or settings.update_computes_entropy
    key = "update_with_entropy" if phase == "update" and entropy else phase
    width, chunk = model.vocab_size / topology.tensor, settings.entropy_chunk_size
    peak = LOGIT_BYTES[topology.engine, key] * tokens * width
    if entropy:
        peak += CHUNK_BYTES * min(chunk, tokens) * width if chunk else WHOLE_ENTROPY_BYTES * tokens * width
    return peak


def training_phases(
    model: Architecture, topology: Topology, settings: MemorySettings
) -> tuple[PhaseMemory, PhaseMemory]:
    """The old log-probabilities with their entropy, forward only; and the update: forward, backward, optimiser step.

    Logits and in-flight activations are counted on one GPU though a pipeline has them on its last and first stage.
    """
    state = model_state(model, topology, settings.fp32_weights)
    waiting = state.weights if settings.reference and not settings.reference_offload else 0.0
    # Accumulated in the type in which they are reduced, fp32.
    whole = settings.whole_gradients and topology.engine == "fsdp"
    # Offloaded, only the weights come back for a forward pass (verl/workers/engine/base.py `_context_switch`).
    keeps_gradients = topology.engine == "megatron" and not settings.param_offload
    log_prob = PhaseMemory(
        weights=state.weights + waiting,
        gradients=state.gradients if keeps_gradients else 0.0,
        optimizer=0.0 if settings.optimizer_offload else state.optimizer,
        gathered=state.gathered_forward,
        activations=layer_activation_bytes(model) * settings.tokens_log_prob / _split(topology, settings),
        logits=logits_bytes(model, topology, settings, "log_prob"),
    )
    update = PhaseMemory(
        weights=state.weights + waiting,
        gradients=4 * model.parameters if whole else state.gradients,
        optimizer=state.optimizer,
        gathered=state.gathered_backward,
        activations=activation_bytes(model, topology, settings),
        logits=logits_bytes(model, topology, settings, "update"),
    )
    return log_prob, update


def rollout_phase(model: Architecture, topology: Topology, settings: MemorySettings) -> PhaseMemory:
    """While vLLM generates: its share, and what the trainer leaves on the GPU."""
    trainer = model_state(model, topology, settings.fp32_weights)
    weights = rollout_weight_bytes(model, settings.rollout_weight_bytes) / topology.rollout_tensor
    # FSDP frees its gradients after the step; Megatron's are one buffer that stays with the weights.
    keeps_gradients = topology.engine == "megatron" and not settings.param_offload
    share = settings.gpu_bytes * settings.gpu_memory_utilization
    waiting = 0.0 if settings.param_offload else trainer.weights
    if settings.reference and not settings.reference_offload:
        waiting += trainer.weights
    return PhaseMemory(
        weights=weights + waiting,
        gradients=trainer.gradients if keeps_gradients else 0.0,
        optimizer=0.0 if settings.optimizer_offload else trainer.optimizer,
        kv_cache=max(share - weights - VLLM_OTHER_BYTES, 0.0),
        other=VLLM_OTHER_BYTES + TRAINER_OTHER_BYTES,
    )


def rollout_weight_bytes(model: Architecture, size: int) -> int:
    """Bytes of vLLM's weights over the GPUs of a replica; `size` bytes for those of the layers' projections."""
    layers = model.num_layers * (model.layer_parameters - 2 * model.hidden_size)
    return size * layers + 2 * (model.parameters - layers)


def kv_bytes_per_token(model: Architecture, tensor: int) -> float:
    """Bytes of one token's keys and values on one of `tensor` GPUs, in bf16."""
    heads = max(model.num_kv_heads / tensor, 1)
    return 2 * model.num_layers * heads * model.head_dim * 2


def kv_cache_tokens(model: Architecture, topology: Topology, rollout: PhaseMemory) -> int:
    """Tokens whose keys and values one vLLM replica holds at once; each of its data-parallel engines has a cache."""
    return int(rollout.kv_cache / kv_bytes_per_token(model, topology.rollout_tensor)) * topology.rollout_data


def host_bytes_per_gpu(model: Architecture, topology: Topology, settings: MemorySettings) -> float:
    """Bytes of host memory that a GPU's rank needs for what is offloaded; vLLM's sleeping weights stay on the GPU's
    side of verl's weight transfer and count once.
    """
    state = model_state(model, topology, settings.fp32_weights)
    weights = state.weights if settings.param_offload else 0.0
    if settings.reference and settings.reference_offload:
        weights += state.weights
    return weights + (state.optimizer if settings.optimizer_offload else 0.0)


def checkpoint_bytes(
    model: Architecture,
    engine: str,
    contents: Collection[str],
    fp32_weights: bool,
    dist_checkpointing: bool = False,
    replicas: int = 1,
) -> int:
    """Bytes on disk of one checkpoint with `contents` (verl's `checkpoint.save_contents`), over all nodes.

    FSDP writes its shards: weights, and Adam's moments in the weights' type; where `fsdp_size` makes `replicas` of
    them, each writes its own (verl/utils/checkpoint/fsdp_checkpoint_manager.py). Megatron writes the weights as a
    Hugging Face model in the type it trains in, and master weights and moments in fp32
    (megatron_checkpoint_manager.py). `hf_model` adds a Hugging Face model to FSDP's; Megatron's already is one.
    """
    size = 4 if fp32_weights else 2
    total = size * model.parameters if "model" in contents else 0
    if "optimizer" in contents:
        total += (12 if engine == "megatron" else 2 * size) * model.parameters
    total *= replicas
    if "hf_model" in contents and (engine == "fsdp" or dist_checkpointing or "model" not in contents):
        total += size * model.parameters
    return total


def _split(topology: Topology, settings: MemorySettings) -> int:
    return topology.tensor if settings.sequence_parallel else 1
