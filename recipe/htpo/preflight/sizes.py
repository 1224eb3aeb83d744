# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Batches divide, and sequences fit."""

from collections.abc import Iterator

from omegaconf import DictConfig

from recipe.htpo.preflight.micro_batches import divisors
from recipe.htpo.preflight.plan.architecture import known_positions
from recipe.htpo.preflight.plan.topology import find_topology
from recipe.htpo.preflight.problem import Problem

ACTOR = "actor_rollout_ref.actor"
ROLLOUT = "actor_rollout_ref.rollout"


def check_batches(config: DictConfig) -> Iterator[Problem]:
    """Training batch, mini-batch, group size and ranks divide into each other."""
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    if rollout.n < 2:
        yield Problem(
            f"{ROLLOUT}.n",
            "is 1: one response has no group to be compared with, every advantage is its raw reward",
            "set it to at least 2",
        )
    batch, mini_batch = config.data.train_batch_size, actor.ppo_mini_batch_size
    if mini_batch > batch or batch % mini_batch:
        yield Problem(
            f"{ACTOR}.ppo_mini_batch_size",
            f"is {mini_batch}, which does not divide data.train_batch_size={batch}",
            f"choose one of {', '.join(map(str, divisors(batch)))}",
        )
    ranks = find_topology(config).data
    responses = mini_batch * rollout.n
    if ranks and responses % ranks:
        yield Problem(
            f"{ACTOR}.ppo_mini_batch_size",
            f"x rollout.n = {responses} responses do not divide over {ranks} data-parallel ranks",
            "change ppo_mini_batch_size or rollout.n so that their product is a multiple of the ranks",
        )


def check_lengths(config: DictConfig) -> Iterator[Problem]:
    """Prompt and response fit the rollout engine, the model and the overlong buffer."""
    prompt, response = config.data.max_prompt_length, config.data.max_response_length
    limit = config.actor_rollout_ref.rollout.max_model_len
    if limit is not None and limit < prompt + response:
        yield Problem(
            f"{ROLLOUT}.max_model_len",
            f"is {limit}, less than max_prompt_length + max_response_length = {prompt + response}",
            f"raise it to at least {prompt + response}, or shorten prompt or response",
        )
    positions = known_positions(config)
    if positions is not None and prompt + response > positions:
        yield Problem(
            "data.max_response_length",
            f"prompt and response may have {prompt + response} tokens, the model has {positions} positions",
            "shorten data.max_prompt_length or data.max_response_length",
        )
    if positions is not None and limit is not None and limit > positions:
        yield Problem(
            f"{ROLLOUT}.max_model_len",
            f"is {limit}, the model has {positions} positions",
            f"lower it to at most {positions}",
        )
    manager_options = config.reward.get("reward_kwargs") or {}
    overlong = manager_options.get("overlong_buffer_cfg")
    if overlong is not None and overlong.enable:
        if not 0 < overlong.len <= response:
            yield Problem(
                "reward.reward_kwargs.overlong_buffer_cfg.len",
                f"is {overlong.len}; it must lie between 1 and data.max_response_length={response}",
                "change it, or set overlong_buffer_cfg.enable=False",
            )
        if config.reward.reward_manager.name != "dapo":
            yield Problem(
                "reward.reward_manager.name",
                f"is {config.reward.reward_manager.name}, which knows no overlong punishment",
                "use dapo, or set reward.reward_kwargs.overlong_buffer_cfg.enable=False",
            )
