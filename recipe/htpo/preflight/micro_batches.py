# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Micro-batches: by a budget of tokens, or by a number of sequences."""

from collections.abc import Iterator

from omegaconf import DictConfig

from recipe.htpo.preflight.plan.topology import find_topology, ulysses_size
from recipe.htpo.preflight.problem import Problem

ACTOR = "actor_rollout_ref.actor"
ROLLOUT = "actor_rollout_ref.rollout"
REF = "actor_rollout_ref.ref"


def check_micro_batches(config: DictConfig) -> Iterator[Problem]:
    """A sequence of full length fits a micro-batch of the update, of the old and of the reference log-probabilities."""
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    if actor.use_dynamic_bsz != rollout.log_prob_use_dynamic_bsz:
        yield Problem(
            f"{ROLLOUT}.log_prob_use_dynamic_bsz",
            f"is {rollout.log_prob_use_dynamic_bsz}, but {ACTOR}.use_dynamic_bsz={actor.use_dynamic_bsz}; verl wants "
            "them equal",
            "leave it out, it follows the actor",
        )
    elif actor.use_dynamic_bsz:
        yield from _budgets(config)
    else:
        yield from _counts(config)


def _budgets(config: DictConfig) -> Iterator[Problem]:
    """verl multiplies a budget by the GPUs that share a sequence (verl/workers/engine/utils.py:99)."""
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    gpus = find_topology(config).context
    budgets = [
        (f"{ACTOR}.ppo_max_token_len_per_gpu", actor.ppo_max_token_len_per_gpu, gpus),
        (f"{ROLLOUT}.log_prob_max_token_len_per_gpu", rollout.log_prob_max_token_len_per_gpu, gpus),
    ]
    if actor.use_kl_loss or config.algorithm.use_kl_in_reward:
        reference = config.actor_rollout_ref.ref
        budgets.append(
            (f"{REF}.log_prob_max_token_len_per_gpu", reference.log_prob_max_token_len_per_gpu, _ref_gpus(config))
        )
    longest = config.data.max_prompt_length + config.data.max_response_length
    reported = set()
    for field, budget, share in budgets:
        # The second and third follow the first unless they are set.
        if budget * share < longest and (budget, share) not in reported:
            reported.add((budget, share))
            on = f" on each of the {share} GPUs that share a sequence" if share > 1 else ""
            yield Problem(
                field,
                f"is {budget}{on}, less than the longest sequence {longest}",
                f"raise it to at least {-(-longest // share)}",
            )


def _ref_gpus(config: DictConfig) -> int:
    """GPUs that share a sequence in the reference policy."""
    reference = config.actor_rollout_ref.ref
    if config.actor_rollout_ref.actor.strategy == "megatron":
        size: int = reference.megatron.context_parallel_size
        return size
    return ulysses_size(reference)


def _counts(config: DictConfig) -> Iterator[Problem]:
    actor, rollout, ranks = (
        config.actor_rollout_ref.actor,
        config.actor_rollout_ref.rollout,
        find_topology(config).data,
    )
    counts = (
        (f"{ACTOR}.ppo_micro_batch_size_per_gpu", actor.ppo_micro_batch_size_per_gpu, actor.ppo_mini_batch_size),
        (
            f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu",
            rollout.log_prob_micro_batch_size_per_gpu,
            config.data.train_batch_size,
        ),
    )
    for field, micro_batch, prompts in counts:
        responses = prompts * rollout.n // ranks if ranks else 0
        if micro_batch is None:
            yield Problem(field, "has no value, but use_dynamic_bsz=False", "set it, or use_dynamic_bsz=True")
        elif responses % micro_batch:
            yield Problem(
                field,
                f"is {micro_batch}, which does not divide the {responses} responses of a data-parallel rank",
                f"choose one of {', '.join(map(str, divisors(responses)))}, or use_dynamic_bsz=True",
            )


def divisors(number: int) -> list[int]:
    """All divisors of a positive number."""
    return [candidate for candidate in range(1, number + 1) if number % candidate == 0]
