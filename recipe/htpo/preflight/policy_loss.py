# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The loss is the table's, or one of verl's with a configuration that asks for nothing else."""

from collections.abc import Iterator

from omegaconf import DictConfig

from recipe.htpo.config import objective_config
from recipe.htpo.objective import CELL_NAMES, ObjectiveConfig, load_preset, preset_names
from recipe.htpo.problem import Problem

ACTOR = "actor_rollout_ref.actor"
LOSS_MODE = f"{ACTOR}.policy_loss.loss_mode"

# verl's losses that run in place of the table. `bypass_mode` needs a batch without old log-probabilities.
VERL_LOSSES = ("cispo", "clip_cov", "dppo_kl", "dppo_tv", "dro", "geo_mean", "gpg", "gspo", "kl_cov", "sapo", "vanilla")

# What a loss was made for, or forces.
LOSS_AGGREGATION = {"gspo": "seq-mean-token-mean", "sapo": "seq-mean-token-mean"}


def check_policy_loss(config: DictConfig) -> Iterator[Problem]:
    """The policy loss, its averaging, and what of the objective would have no effect with it."""
    try:
        objective = objective_config(config)
    except ValueError:
        # `check_objective` says so.
        return
    actor = config.actor_rollout_ref.actor
    mode = actor.policy_loss.loss_mode
    if mode == "htpo":
        scaled = [name for group, name in enumerate(CELL_NAMES, start=1) if objective.cells[group].kl_scale != 1]
        if scaled and not actor.use_kl_loss:
            field = f"objective.cells.{scaled[0]}.kl_scale"
            yield Problem(field, "scales a KL term that is off", f"set {ACTOR}.use_kl_loss=True, or kl_scale=1")
    elif mode in VERL_LOSSES:
        yield from _without_effect(config, objective, mode)
    else:
        yield Problem(LOSS_MODE, f"is {mode}", f"use htpo (the table), or one of verl's: {', '.join(VERL_LOSSES)}")
    wanted = LOSS_AGGREGATION.get(mode, actor.loss_agg_mode)
    if actor.loss_agg_mode != wanted:
        yield Problem(f"{ACTOR}.loss_agg_mode", f"is {actor.loss_agg_mode}, but {mode} has {wanted}", "set it so")
    if actor.loss_agg_mode == "seq-mean-token-sum-norm" and actor.loss_scale_factor is None:
        yield Problem(
            f"{ACTOR}.loss_scale_factor",
            "is not set, so verl would divide by the width of each micro-batch",
            "set a constant, such as ${data.max_response_length}",
        )


def _without_effect(config: DictConfig, objective: ObjectiveConfig, mode: str) -> Iterator[Problem]:
    """What one of verl's losses would not look at."""
    plain = load_preset("dapo").cells[1]
    rows = [name for group, name in enumerate(CELL_NAMES, start=1) if objective.cells[group] != plain]
    if rows:
        preset = mode if mode in preset_names() else "dapo"
        yield Problem(
            LOSS_MODE,
            f"is {mode}, so these rows of the table would have no effect: {', '.join(rows)}",
            f"choose a preset that is made for it (objective={preset}), or loss_mode=htpo",
        )
    if objective.entropy_source == "current":
        message = f"is current, but {mode} does not split tokens by entropy; it would be computed for nothing"
        yield Problem("objective.entropy_source", message, "set it to old")
    if config.htpo.dump_tokens.steps:
        message = f"asks for tokens, but {mode} is verl's loss, which says nothing of single tokens"
        yield Problem("htpo.dump_tokens.steps", message, "set it to []")
    if mode == "dro" and not config.actor_rollout_ref.actor.policy_loss.dro_beta:
        yield Problem(f"{ACTOR}.policy_loss.dro_beta", "has no value, which dro needs", "set it")
