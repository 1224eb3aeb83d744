# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Bytes of one checkpoint.

FSDP writes its shards: fp32 weights and Adam's moments in the weights' type (verl/utils/checkpoint/
fsdp_checkpoint_manager.py). Megatron writes the weights as a Hugging Face model in the type it trains in, and master
weights and moments in fp32 (verl/utils/checkpoint/megatron_checkpoint_manager.py). `hf_model` adds a Hugging Face
model to FSDP's; Megatron's already is one.
"""

from collections.abc import Collection

from recipe.htpo.preflight.plan.architecture import Architecture


def checkpoint_bytes(
    model: Architecture, engine: str, contents: Collection[str], fp32_weights: bool, dist_checkpointing: bool = False
) -> int:
    """Bytes on disk of one checkpoint with `contents` (verl's `checkpoint.save_contents`), over all nodes."""
    size = 4 if fp32_weights else 2
    total = 0
    if "model" in contents:
        total += size * model.parameters
    if "optimizer" in contents:
        total += (12 if engine == "megatron" else 2 * size) * model.parameters
    if "hf_model" in contents and (engine == "fsdp" or dist_checkpointing or "model" not in contents):
        total += size * model.parameters
    return total
