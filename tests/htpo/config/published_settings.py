# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The published settings of HTPO (Qwen3-8B-Base on DAPO-Math-17k), under the names that verl reads.

Source: arXiv 2605.08283 and the launch scripts of the authors' release (train.sh, eval.sh). Two entries are this
recipe's own: `entropy_source` (the release splits by the current policy's entropy, the same in the first mini-batch)
and the estimator's name `htpo`, which is GRPO's advantage. The rules and the way in which detached tokens are counted
are those of the bounded preset and not among them.
"""

PUBLISHED = {
    "objective.preset": "htpo",
    "objective.difficulty_threshold": 0.6,
    "objective.high_entropy_ratio": 0.2,
    "objective.entropy_source": "old",
    "objective.cells.hard_correct_low.detach_lowest": 0.006,
    "objective.cells.easy_correct_high.detach_highest": 0.02,
    "actor_rollout_ref.actor.clip_ratio_low": 0.2,
    "actor_rollout_ref.actor.clip_ratio_high": 0.28,
    "actor_rollout_ref.actor.clip_ratio_c": 10.0,
    "actor_rollout_ref.actor.loss_agg_mode": "token-mean",
    "actor_rollout_ref.actor.policy_loss.loss_mode": "htpo",
    "actor_rollout_ref.actor.use_kl_loss": False,
    "actor_rollout_ref.actor.entropy_coeff": 0,
    "actor_rollout_ref.actor.ppo_epochs": 1,
    "actor_rollout_ref.actor.ppo_mini_batch_size": 32,
    "actor_rollout_ref.actor.optim.lr": 1e-6,
    "actor_rollout_ref.actor.optim.lr_warmup_steps": 10,
    "actor_rollout_ref.actor.optim.weight_decay": 0.1,
    "actor_rollout_ref.actor.optim.clip_grad": 1.0,
    "algorithm.adv_estimator": "htpo",
    "algorithm.norm_adv_by_std_in_grpo": True,
    "algorithm.use_kl_in_reward": False,
    "algorithm.filter_groups.enable": True,
    "algorithm.filter_groups.metric": "acc",
    "reward.reward_manager.name": "dapo",
    "reward.reward_kwargs.overlong_buffer_cfg.enable": True,
    "reward.reward_kwargs.overlong_buffer_cfg.len": 4096,
    "reward.reward_kwargs.overlong_buffer_cfg.penalty_factor": 1.0,
    "reward.reward_kwargs.max_resp_len": 20480,
    "data.max_prompt_length": 2048,
    "data.max_response_length": 20480,
    "data.train_batch_size": 128,
    "actor_rollout_ref.rollout.n": 16,
    "actor_rollout_ref.rollout.temperature": 1.0,
    "actor_rollout_ref.rollout.top_p": 1.0,
    "actor_rollout_ref.rollout.val_kwargs.temperature": 1.0,
    "actor_rollout_ref.rollout.val_kwargs.top_p": 0.7,
    "actor_rollout_ref.rollout.val_kwargs.n": 32,
    "actor_rollout_ref.rollout.val_kwargs.do_sample": True,
}

# The release generates 256 prompts for a training batch of 128. verl 0.9.1 fetches prompts one by one under dynamic
# sampling (data.gen_batch_size is overridden with 1); what it keeps in flight is counted in training batches.
GENERATION = {"algorithm.filter_groups.max_inflight_gen_batches": 2}
