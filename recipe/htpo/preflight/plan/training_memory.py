# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Bytes that training takes on one GPU, by part. An estimate: it has not been compared with a GPU run.

Two passes count, on the GPU with the most to hold:

- `log_prob`: old log-probabilities and entropy, forward only;
- `update`: forward, backward and optimiser step.

Mixed precision, `P` parameters of a rank (Megatron: verl/utils/megatron_utils.py `offload_megatron_model_to_cpu` lists
the storages; "mixed precision" in arXiv 1910.02054 section 3.1 counts the same bytes):

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

With full recomputation (section 5 there) only the input of a layer is kept, 2 h bytes per token, and one unit of
layers is recomputed at a time. Sequence parallelism divides all of it by the tensor-parallel size; a pipeline's first
stage holds as many micro-batches as there are stages (1F1B).
"""

from dataclasses import dataclass

from recipe.htpo.preflight.plan.architecture import Architecture
from recipe.htpo.preflight.plan.topology import Topology

# Bytes per logit that live at once at the peak, by engine and pass; V of a rank x tokens.
# FSDP: bf16 logits; flash-attn's cross-entropy writes the gradient in place; the product with the output layer may hold
# a second copy. Megatron: the last stage returns fp32 (Float16Module) beside bf16; verl clones the logits for the
# entropy, whose softmax is a third fp32 buffer (verl/workers/engine/megatron/transformer_impl.py:1215,
# verl/utils/megatron/tensor_parallel.py:106); the cross-entropy works in place. An entropy in the update is kept for
# the backward pass.
LOGIT_BYTES = {
    ("fsdp", "log_prob"): 4,
    ("fsdp", "update"): 4,
    ("fsdp", "update_with_entropy"): 14,
    ("megatron", "log_prob"): 14,
    ("megatron", "update"): 8,
    ("megatron", "update_with_entropy"): 18,
}
# FSDP without chunks: softmax and product in the logits' dtype beside them (verl/utils/torch_functional.py:231).
FSDP_WHOLE_ENTROPY_BYTES = 4
# With chunks: fp32 logits, softmax and product of one chunk (verl/utils/torch_functional.py:248).
FSDP_CHUNK_BYTES = 12

# The busiest expert rank gets this many times the average of tokens.
EXPERT_IMBALANCE = 2.0

# An assumption: contexts of CUDA and NCCL for trainer and vLLM, CUDA graphs that a sleeping vLLM keeps, fragmentation.
OTHER_BYTES = 6 * 2**30


@dataclass(frozen=True)
class TrainingSettings:
    """What the memory of training depends on beside the model and the topology."""

    tokens_update: int
    tokens_log_prob: int
    recompute_layers: int
    param_offload: bool
    optimizer_offload: bool
    sequence_parallel: bool
    update_computes_entropy: bool
    entropy_chunk_size: int
    fp32_weights: bool


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
    if topology.engine == "megatron":
        return _megatron_state(model, topology)
    size = 4 if fp32_weights else 2
    share = model.parameters / topology.shards
    # The embedding is a unit of its own unless tied, then it is the root's; so is the output layer.
    root = model.embedding_parameters
    unit = max(model.layer_parameters, root)
    gathered = 2 * (2 * model.layer_parameters + root)
    return ModelState(share * size, share * size, share * 2 * size, gathered, gathered + 6 * unit)


def _megatron_state(model: Architecture, topology: Topology) -> ModelState:
    layers = model.num_layers / topology.pipeline
    dense = layers * (model.attention_parameters + model.mlp_parameters + 2 * model.hidden_size)
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


def activation_bytes(model: Architecture, topology: Topology, settings: TrainingSettings) -> float:
    """Peak of activations in the update on the first pipeline stage, for `tokens_update` tokens of a micro-batch."""
    tokens, split = settings.tokens_update, _split(topology, settings)
    layer = layer_activation_bytes(model)
    # 1F1B: the first of p stages has p micro-batches of num_layers / p layers in flight.
    in_flight_layers = model.num_layers
    if not settings.recompute_layers:
        return tokens * in_flight_layers * layer / split
    kept = in_flight_layers / settings.recompute_layers * 2 * model.hidden_size
    # The unit that is recomputed, and the gradients of the widest pair of its tensors, gate and up.
    gradients = 4 * (model.intermediate_size if not model.num_experts else model.hidden_size)
    return tokens * (kept + settings.recompute_layers * layer + gradients) / split


def logits_bytes(model: Architecture, topology: Topology, settings: TrainingSettings, phase: str) -> float:
    """Peak of buffers of vocabulary size on the last pipeline stage; `phase` is log_prob or update."""
    tokens = settings.tokens_log_prob if phase == "log_prob" else settings.tokens_update
    entropy = phase == "log_prob" or settings.update_computes_entropy
    key = "update_with_entropy" if phase == "update" and settings.update_computes_entropy else phase
    width = model.vocab_size / topology.tensor
    peak = LOGIT_BYTES[topology.engine, key] * tokens * width
    if topology.engine == "fsdp" and entropy:
        chunk = settings.entropy_chunk_size
        peak += FSDP_CHUNK_BYTES * min(chunk, tokens) * width if chunk else FSDP_WHOLE_ENTROPY_BYTES * tokens * width
    return peak


def training_phases(
    model: Architecture, topology: Topology, settings: TrainingSettings
) -> tuple[PhaseMemory, PhaseMemory]:
    """Memory of the passes `log_prob` and `update`; logits and in-flight activations are counted on one GPU though a
    pipeline has them on its last and first stage.
    """
    state = model_state(model, topology, settings.fp32_weights)
    # Offloaded, only the weights come back for a forward pass (verl/workers/engine/base.py `_context_switch`).
    keeps_gradients = topology.engine == "megatron" and not settings.param_offload
    layer = layer_activation_bytes(model) * settings.tokens_log_prob / _split(topology, settings)
    log_prob = PhaseMemory(
        weights=state.weights,
        gradients=state.gradients if keeps_gradients else 0.0,
        optimizer=0.0 if settings.optimizer_offload else state.optimizer,
        gathered=state.gathered_forward,
        activations=layer,
        logits=logits_bytes(model, topology, settings, "log_prob"),
    )
    update = PhaseMemory(
        weights=state.weights,
        gradients=state.gradients,
        optimizer=state.optimizer,
        gathered=state.gathered_backward,
        activations=activation_bytes(model, topology, settings),
        logits=logits_bytes(model, topology, settings, "update"),
    )
    return log_prob, update


def _split(topology: Topology, settings: TrainingSettings) -> int:
    return topology.tensor if settings.sequence_parallel else 1
