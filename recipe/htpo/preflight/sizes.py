# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Batches divide, and sequences fit."""

from collections.abc import Iterator

from omegaconf import DictConfig

from recipe.htpo.preflight.problem import Problem

ACTOR = "actor_rollout_ref.actor"
ROLLOUT = "actor_rollout_ref.rollout"


def check_batches(config: DictConfig) -> Iterator[Problem]:
    """Training batch, mini-batch, group size and ranks divide into each other."""
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    positive = {
        "data.train_batch_size": config.data.train_batch_size,
        f"{ACTOR}.ppo_mini_batch_size": actor.ppo_mini_batch_size,
        f"{ROLLOUT}.n": rollout.n,
        "trainer.n_gpus_per_node": config.trainer.n_gpus_per_node,
        "trainer.nnodes": config.trainer.nnodes,
    }
    wrong = [Problem(field, f"is {value}", "set it to at least 1") for field, value in positive.items() if value < 1]
    yield from wrong
    if wrong:
        return
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
            f"choose one of {', '.join(map(str, _divisors(batch)))}",
        )
    ranks = data_parallel_size(config)
    responses = mini_batch * rollout.n
    if responses % ranks:
        yield Problem(
            f"{ACTOR}.ppo_mini_batch_size",
            f"x rollout.n = {responses} responses do not divide over {ranks} data-parallel ranks",
            "change ppo_mini_batch_size or rollout.n so that their product is a multiple of the ranks",
        )
    elif not actor.use_dynamic_bsz and actor.ppo_micro_batch_size_per_gpu is not None:
        micro_batch = actor.ppo_micro_batch_size_per_gpu
        if micro_batch < 1 or (responses // ranks) % micro_batch:
            yield Problem(
                f"{ACTOR}.ppo_micro_batch_size_per_gpu",
                f"is {micro_batch}, which does not divide the {responses // ranks} responses of a rank's mini-batch",
                f"choose one of {', '.join(map(str, _divisors(responses // ranks)))}, or use_dynamic_bsz=True",
            )


def check_lengths(config: DictConfig) -> Iterator[Problem]:
    """Prompt and response fit the rollout engine, the token budget and the overlong buffer."""
    prompt, response = config.data.max_prompt_length, config.data.max_response_length
    for field, value in (("data.max_prompt_length", prompt), ("data.max_response_length", response)):
        if value < 1:
            yield Problem(field, f"is {value}", "set it to at least 1")
    limit = config.actor_rollout_ref.rollout.max_model_len
    if limit is not None and limit < prompt + response:
        yield Problem(
            f"{ROLLOUT}.max_model_len",
            f"is {limit}, less than max_prompt_length + max_response_length = {prompt + response}",
            f"raise it to at least {prompt + response}, or shorten prompt or response",
        )
    actor = config.actor_rollout_ref.actor
    if actor.use_dynamic_bsz and actor.ppo_max_token_len_per_gpu < prompt + response:
        yield Problem(
            f"{ACTOR}.ppo_max_token_len_per_gpu",
            f"is {actor.ppo_max_token_len_per_gpu}, less than the longest sequence {prompt + response}",
            f"raise it to at least {prompt + response}",
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


def data_parallel_size(config: DictConfig) -> int:
    """Ranks that hold different data: all ranks, less those joined by model, pipeline, context or sequence parallel."""
    actor = config.actor_rollout_ref.actor
    world = config.trainer.n_gpus_per_node * config.trainer.nnodes
    if actor.strategy == "megatron":
        megatron = actor.megatron
        joined = (
            megatron.tensor_model_parallel_size * megatron.pipeline_model_parallel_size * megatron.context_parallel_size
        )
    else:
        joined = actor.get("ulysses_sequence_parallel_size") or 1
    return max(world // joined, 1)


def _divisors(number: int) -> list[int]:
    return [candidate for candidate in range(1, number + 1) if number % candidate == 0]
