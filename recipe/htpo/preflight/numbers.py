# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The fields that all other checks calculate with are positive whole numbers."""

from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from recipe.htpo.preflight.problem import Problem

POSITIVE = (
    "data.train_batch_size",
    "data.max_prompt_length",
    "data.max_response_length",
    "trainer.nnodes",
    "trainer.n_gpus_per_node",
    "actor_rollout_ref.actor.ppo_mini_batch_size",
    "actor_rollout_ref.actor.ppo_epochs",
    "actor_rollout_ref.actor.ppo_max_token_len_per_gpu",
    "actor_rollout_ref.rollout.n",
    "actor_rollout_ref.rollout.tensor_model_parallel_size",
    "actor_rollout_ref.rollout.data_parallel_size",
    "actor_rollout_ref.rollout.max_num_batched_tokens",
    "actor_rollout_ref.rollout.max_num_seqs",
    "actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu",
)
POSITIVE_FSDP = (
    "actor_rollout_ref.actor.ulysses_sequence_parallel_size",
    "actor_rollout_ref.actor.fsdp_config.ulysses_sequence_parallel_size",
)
POSITIVE_MEGATRON = (
    "actor_rollout_ref.actor.megatron.tensor_model_parallel_size",
    "actor_rollout_ref.actor.megatron.pipeline_model_parallel_size",
    "actor_rollout_ref.actor.megatron.context_parallel_size",
    "actor_rollout_ref.actor.megatron.expert_model_parallel_size",
)
# null has a meaning of its own.
POSITIVE_OR_NULL = (
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu",
    "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu",
    "actor_rollout_ref.rollout.max_model_len",
    "trainer.max_actor_ckpt_to_keep",
)
POSITIVE_OR_NULL_MEGATRON = (
    "actor_rollout_ref.actor.megatron.expert_tensor_parallel_size",
    "actor_rollout_ref.actor.megatron.virtual_pipeline_model_parallel_size",
)


def check_numbers(config: DictConfig) -> Iterator[Problem]:
    """Every size that is calculated with is a whole number of at least 1."""
    megatron = config.model_engine == "megatron"
    required = POSITIVE + (POSITIVE_MEGATRON if megatron else POSITIVE_FSDP)
    optional = POSITIVE_OR_NULL + (POSITIVE_OR_NULL_MEGATRON if megatron else ())
    for field in required + optional:
        value = OmegaConf.select(config, field)
        if value is None and field in optional:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            null = " or null" if field in optional else ""
            yield Problem(field, f"is {value}", f"set it to a whole number of at least 1{null}")
