# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The numbers' precision on a machine without an accelerator."""

from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from recipe.htpo.preflight.problem import Problem

ACTOR = "actor_rollout_ref.actor"
FULL = ("fp32", "float32")
REMEDY = "use {}; other precisions are about 20 times slower on most CPUs, and comparisons with vLLM say nothing"


def check_cpu(config: DictConfig) -> Iterator[Problem]:
    """On the CPU everything is fp32, and the engine is one that runs there."""
    if config.trainer.device != "cpu":
        return
    actor = config.actor_rollout_ref.actor
    if actor.strategy == "fsdp":
        yield Problem(f"{ACTOR}.strategy", "is fsdp (FSDP1), which does not run on a CPU", "use fsdp2")
    fields = {"actor_rollout_ref.rollout.dtype": "float32"}
    if actor.strategy == "megatron":
        fields[f"{ACTOR}.megatron.dtype"] = "float32"
        if not actor.megatron.vanilla_mbridge:
            yield Problem(
                f"{ACTOR}.megatron.vanilla_mbridge",
                "is False; Megatron-Bridge needs Transformer Engine, which needs a GPU",
                "set it to True",
            )
    else:
        fields[f"{ACTOR}.fsdp_config.model_dtype"] = "fp32"
        for name in ("param_dtype", "reduce_dtype", "buffer_dtype"):
            fields[f"{ACTOR}.fsdp_config.mixed_precision.{name}"] = "fp32"
    for field, name in fields.items():
        value = OmegaConf.select(config, field)
        if value not in FULL:
            yield Problem(field, f"is {value}, not fp32", REMEDY.format(name))
