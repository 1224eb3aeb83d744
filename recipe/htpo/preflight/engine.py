# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Layout, engine and strategy belong together."""

from collections.abc import Iterator

from omegaconf import DictConfig

from recipe.htpo.preflight.problem import Problem

ACTOR = "actor_rollout_ref.actor"

# verl's `model_engine` group -> the strategies that its actor configuration is for.
STRATEGIES = {"dp": ("fsdp2", "fsdp"), "megatron": ("megatron",)}
# First part of a layout's name -> the `model_engine` that it is written for.
LAYOUT_ENGINES = {"fsdp": "dp", "megatron": "megatron"}

# A node that the actor of the other engine has.
FOREIGN = {"dp": "megatron", "megatron": "fsdp_config"}
CPU_PLATFORMS = {"dp": "cpu", "megatron": "cpu_megatron"}


def check_engine(config: DictConfig) -> Iterator[Problem]:
    """`model_engine` decides which fields there are; the layout and the strategies must be of the same engine."""
    engine, layout = config.model_engine, config.htpo.layout
    if engine not in STRATEGIES:
        yield Problem("model_engine", f"is {engine}, which HTPO was not run with", "use dp (FSDP) or megatron")
        return
    if layout is not None and LAYOUT_ENGINES[layout.split("/")[0]] != engine:
        fitting = next(name for name, of in LAYOUT_ENGINES.items() if of == engine)
        yield Problem(
            "layout",
            f"is {layout}, but model_engine={engine}",
            f"add model_engine={LAYOUT_ENGINES[layout.split('/')[0]]}, or choose layout={fitting}/...",
        )
        return
    actor = config.actor_rollout_ref.actor
    strategy, foreign = actor.strategy, FOREIGN[engine]
    if foreign in actor:
        where = (
            f"platform={CPU_PLATFORMS[engine]} with it" if config.trainer.device == "cpu" else "the other model_engine"
        )
        yield Problem("model_engine", f"is {engine}, but {ACTOR}.{foreign} is set, which it has not", f"choose {where}")
    elif strategy not in STRATEGIES[engine]:
        yield Problem(f"{ACTOR}.strategy", f"is {strategy}, but model_engine={engine}", _remedy(engine, strategy))
    elif (reference := config.actor_rollout_ref.ref.strategy) not in STRATEGIES[engine]:
        yield Problem(
            "actor_rollout_ref.ref.strategy", f"is {reference}, but model_engine={engine}", _remedy(engine, reference)
        )


def check_layout_has_gpus(config: DictConfig) -> Iterator[Problem]:
    """Layouts are for GPUs; the CPU platform has sizes of its own."""
    if config.trainer.device == "cpu" and config.htpo.layout is not None:
        yield Problem("layout", f"{config.htpo.layout} is for GPUs, but trainer.device=cpu", "leave layout out")


def _remedy(engine: str, strategy: str) -> str:
    others = [name for name, strategies in STRATEGIES.items() if strategy in strategies]
    remedy = f"use {' or '.join(STRATEGIES[engine])}"
    return f"{remedy}, or change the engine with model_engine={others[0]}" if others else remedy
