# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Broken cluster configurations of both engines: each is refused with the field and a remedy, without a GPU."""

import pytest
from preflight_support import assert_refused, case_id, composed

from recipe.htpo.preflight import config_problems

pytestmark = pytest.mark.usefixtures("no_ray")

ACTOR = "actor_rollout_ref.actor"
MEGATRON = f"{ACTOR}.megatron"
FSDP = f"{ACTOR}.fsdp_config"
REF = "actor_rollout_ref.ref"
MODEL = "actor_rollout_ref.model"
ROLLOUT = "actor_rollout_ref.rollout"

TENSOR = f"{MEGATRON}.tensor_model_parallel_size"
PIPELINE = f"{MEGATRON}.pipeline_model_parallel_size"
VIRTUAL = f"{MEGATRON}.virtual_pipeline_model_parallel_size"
CONTEXT = f"{MEGATRON}.context_parallel_size"
EXPERT = f"{MEGATRON}.expert_model_parallel_size"
RECOMPUTE = f"{MEGATRON}.override_transformer_config.recompute"
EXPERT_TENSOR = f"{MEGATRON}.expert_tensor_parallel_size"
ULYSSES = f"{ACTOR}.ulysses_sequence_parallel_size"
ROLLOUT_TENSOR = f"{ROLLOUT}.tensor_model_parallel_size"

MOE = ["layout=megatron/qwen3_30b_a3b"]

# On top of layout=megatron/qwen3_8b: overrides, field, words of the message, words of the remedy.
MEGATRON_CASES = [
    # Which engine
    (["model_engine=dp"], "layout", "megatron/qwen3_8b, but model_engine=dp", "model_engine=megatron"),
    (["layout=fsdp/qwen3_8b"], "layout", "fsdp/qwen3_8b, but model_engine=megatron", "layout=megatron/"),
    (["model_engine=veomni"], "model_engine", "is veomni", "megatron"),
    ([f"{ACTOR}.strategy=fsdp2"], f"{ACTOR}.strategy", "is fsdp2", "model_engine=dp"),
    ([f"{REF}.strategy=fsdp2"], f"{REF}.strategy", "is fsdp2", "use megatron"),
    # GPUs
    ([f"{CONTEXT}=3"], TENSOR, "= 12 GPUs, of which 32 is no multiple", "trainer.nnodes"),
    ([f"{TENSOR}=64"], EXPERT, "is no multiple", "expert_tensor_parallel_size=1"),
    (
        ["trainer.nnodes=3", f"{ACTOR}.ppo_mini_batch_size=2"],
        f"{ACTOR}.ppo_mini_batch_size",
        "over 6 data-p",
        "multiple",
    ),
    ([f"{TENSOR}=0"], TENSOR, "is 0", "at least 1"),
    ([f"{TENSOR}=two"], TENSOR, "is two", "whole number"),
    ([f"{CONTEXT}=1.5"], CONTEXT, "is 1.5", "whole number"),
    ([f"{VIRTUAL}=0"], VIRTUAL, "is 0", "or null"),
    # The model over them
    (["trainer.nnodes=3", f"{TENSOR}=3"], TENSOR, "32 attention heads of Qwen3-8B-Base", "divisor"),
    (["layout=megatron/qwen3_14b", "trainer.nnodes=5", f"{TENSOR}=20"], TENSOR, "8 key and value heads", "divisor"),
    (
        ["trainer.nnodes=5", f"{PIPELINE}=5"],
        PIPELINE,
        "36 layers of Qwen3-8B-Base",
        "num_layers_in_last_pipeline_stage",
    ),
    ([f"{VIRTUAL}=2"], VIRTUAL, "one pipeline stage", "null"),
    ([f"{PIPELINE}=2", f"{VIRTUAL}=5"], VIRTUAL, "18 layers of a stage", "divisor"),
    (
        [f"{PIPELINE}=2", f"{VIRTUAL}=2", f"{ACTOR}.ppo_mini_batch_size=2", f"{ROLLOUT}.n=2"],
        VIRTUAL,
        "multiples of the 2 pipeline stages, and a data-parallel rank has up to 1 ",
        "null",
    ),
    ([f"{EXPERT}=2"], EXPERT, "has no experts", "set it to 1"),
    ([*MOE, "trainer.nnodes=3", f"{EXPERT}=24"], EXPERT, "128 experts", "divisor"),
    (
        [*MOE, f"{TENSOR}=4", f"{EXPERT}=16", f"{EXPERT_TENSOR}=null"],
        EXPERT,
        "= 64 GPUs.*null means",
        "each expert whole",
    ),
    ([*MOE, "trainer.nnodes=5", f"{EXPERT_TENSOR}=5"], EXPERT_TENSOR, "an expert's size 768", "divisor"),
    ([*MOE, f"{TENSOR}=4", f"{MEGATRON}.sequence_parallel=False"], f"{MEGATRON}.sequence_parallel", "experts", "True"),
    # What only Megatron gets wrong
    (
        [f"{MEGATRON}.use_distributed_optimizer=False"],
        f"{MEGATRON}.use_distributed_optimizer",
        "exports the weights",
        "set it to True",
    ),
    ([f"{MEGATRON}.use_mbridge=False"], f"{MEGATRON}.use_mbridge", "no other way", "set it to True"),
    (
        [f"{ACTOR}.calculate_entropy=True", f"{ACTOR}.entropy_from_logits_with_chunking=True"],
        f"{ACTOR}.entropy_from_logits_with_chunking",
        "cannot differentiate",
        "False",
    ),
    (
        [f"{ACTOR}.entropy_coeff=0.001", f"{ACTOR}.entropy_from_logits_with_chunking=True"],
        f"{ACTOR}.entropy_from_logits_with_chunking",
        "entropy_coeff",
        "False",
    ),
    (
        [f"{MEGATRON}.override_transformer_config.recompute_num_layers=null"],
        f"{MEGATRON}.override_transformer_config.recompute_num_layers",
        "recompute_granularity=full",
        "uniform",
    ),
    ([f"{RECOMPUTE}_granularity=some"], f"{RECOMPUTE}_granularity", "is some", "full, selective or null"),
    ([f"{RECOMPUTE}_method=all"], f"{RECOMPUTE}_method", "is all", "block or uniform"),
    ([f"{RECOMPUTE}_num_layers=0"], f"{RECOMPUTE}_num_layers", "is 0", "at least 1 or null"),
    (
        [f"{RECOMPUTE}_granularity=selective"],
        f"{RECOMPUTE}_num_layers",
        "is 12, which megatron-core refuses",
        "set it to null",
    ),
    (
        [f"{ACTOR}.use_kl_loss=True", f"{REF}.megatron.tensor_model_parallel_size=8"],
        f"{REF}.megatron.tensor_model_parallel_size",
        "is 8, and .*=4; verl 0.9.1 makes the groups once",
        "follows the actor",
    ),
    (
        [f"{MEGATRON}.use_dist_checkpointing=True"],
        f"{MEGATRON}.dist_checkpointing_path",
        "no value",
        "use_dist_checkpointing=False",
    ),
    (
        [f"{ACTOR}.optim.use_checkpoint_opt_param_scheduler=False"],
        f"{ACTOR}.optim.use_checkpoint_opt_param_scheduler",
        "schedule anew",
        "set it to True",
    ),
    ([f"{ACTOR}.optim.betas=[0.9,0.95]"], f"{ACTOR}.optim.betas", "does not hand", "adam_beta2"),
    (
        ["trainer.total_training_steps=10"],
        f"{ACTOR}.optim.lr_warmup_steps",
        "schedule has 10 steps",
        "train longer",
    ),
    ([f"{MEGATRON}.dtype=float32"], MEGATRON, "dtype float32 not supported", "correct the field"),
    ([f"+{MEGATRON}.tensor_parallel=2"], f"{MEGATRON}.tensor_parallel", "no field of verl", "correct the name"),
    ([f"+{ACTOR}.optim.lr_scheduler_type=cosine"], f"{ACTOR}.optim.lr_scheduler_type", "no field", "correct the name"),
    (
        [f"{MEGATRON}.use_remove_padding=False"],
        f"{MEGATRON}.use_remove_padding",
        f"reads {MODEL}.use_remove_padding=True instead",
        f"{MODEL}.use_remove_padding=False",
    ),
    (
        [f"+{MEGATRON}.override_transformer_config.apply_rope_fuzion=True"],
        f"{MEGATRON}.override_transformer_config.apply_rope_fuzion",
        "no field of megatron-core",
        "did you mean apply_rope_fusion?",
    ),
    (
        [f"+{MEGATRON}.override_transformer_config.zzz=1"],
        f"{MEGATRON}.override_transformer_config.zzz",
        "no field of megatron-core",
        "leave it out",
    ),
    (
        [*MOE, f"{MEGATRON}.router_replay.mode=R3", f"{ROLLOUT}.enable_rollout_routing_replay=False"],
        f"{ROLLOUT}.enable_rollout_routing_replay",
        "replays what the rollout records",
        "set it to True",
    ),
    (
        [*MOE, f"{MEGATRON}.router_replay.mode=disabled", f"{ROLLOUT}.enable_rollout_routing_replay=True"],
        f"{ROLLOUT}.enable_rollout_routing_replay",
        "mode is disabled",
        "mode=R3",
    ),
    # Tokens
    (
        [f"{ACTOR}.ppo_max_token_len_per_gpu=22000"],
        f"{ACTOR}.ppo_max_token_len_per_gpu",
        "less than the longest sequence 22528",
        "22528",
    ),
    (
        ["layout=megatron/qwen3_14b", f"{ACTOR}.ppo_max_token_len_per_gpu=11000"],
        f"{ACTOR}.ppo_max_token_len_per_gpu",
        "on each of the 2 GPUs that share a sequence",
        "11264",
    ),
    (
        [f"{ROLLOUT}.log_prob_max_token_len_per_gpu=100"],
        f"{ROLLOUT}.log_prob_max_token_len_per_gpu",
        "less than the longest",
        "22528",
    ),
    (
        [f"{ACTOR}.use_kl_loss=True", f"{REF}.log_prob_max_token_len_per_gpu=100"],
        f"{REF}.log_prob_max_token_len_per_gpu",
        "less than the longest",
        "22528",
    ),
]

# On top of layout=fsdp/qwen3_8b.
FSDP_CASES = [
    (["model_engine=megatron"], "layout", "fsdp/qwen3_8b, but model_engine=megatron", "model_engine=dp"),
    (["platform=cpu"], "layout", "is for GPUs", "leave layout out"),
    ([f"+{MEGATRON}.context_parallel_size=2"], "model_engine", "megatron is set", "other model_engine"),
    # GPUs and the model over them
    (["layout=fsdp/qwen3_0_6b", f"{ULYSSES}=16"], ULYSSES, "does not divide 8 GPUs", "divisor"),
    (["trainer.nnodes=3", f"{ULYSSES}=3"], ULYSSES, "32 attention heads", "divisor"),
    ([f"{ULYSSES}=2", f"{MODEL}.use_remove_padding=False"], ULYSSES, "sequences are padded", "use_remove_padding=True"),
    ([f"{FSDP}.fsdp_size=5"], f"{FSDP}.fsdp_size", "does not divide 32 GPUs", "-1 for all"),
    ([f"{FSDP}.fsdp_size=0"], f"{FSDP}.fsdp_size", "is 0", "-1 for all"),
    ([f"{FSDP}.fsdp_size=null"], f"{FSDP}.fsdp_size", "is None", "-1 for all"),
    # Entropies
    (
        [f"{ACTOR}.entropy_from_logits_with_chunking=False"],
        f"{ACTOR}.entropy_from_logits_with_chunking",
        "come from bf16 logits",
        "set it to True",
    ),
    # With it verl computes no chunk, and every entropy is 0.
    (
        [f"{ACTOR}.entropy_from_logits_chunk_size=-1"],
        f"{ACTOR}.entropy_from_logits_chunk_size",
        "is -1",
        "whole number of at least 1",
    ),
    ([f"{MODEL}.use_remove_padding=False"], f"{MODEL}.use_remove_padding", "padded .* from bf16 logits", "True"),
    # vLLM
    ([f"{ROLLOUT}.data_parallel_size=5"], ROLLOUT_TENSOR, "= 5 GPUs of a replica, of which 32 is no", "divisor"),
    (["layout=fsdp/qwen3_14b", f"{ROLLOUT_TENSOR}=16"], ROLLOUT_TENSOR, "40 attention heads", "divisor of both"),
    (
        ["trainer.nnodes=3", f"{ROLLOUT_TENSOR}=4", f"{ROLLOUT}.data_parallel_size=3"],
        ROLLOUT_TENSOR,
        "= 12 GPUs of a replica are no multiple of the 8 of a node",
        "multiple of a node's GPUs",
    ),
    (
        ["trainer.nnodes=3", f"{ROLLOUT}.data_parallel_size=3"],
        ROLLOUT_TENSOR,
        "a replica would lie across nodes",
        "divisor of a node's GPUs",
    ),
    ([f"{ROLLOUT}.n_gpus_per_node=0"], f"{ROLLOUT}.n_gpus_per_node", "is 0", "at least 1"),
    ([f"{ROLLOUT}.gpu_memory_utilization=null"], f"{ROLLOUT}.gpu_memory_utilization", "is None", "between 0 and 1"),
    ([f"{ROLLOUT}.gpu_memory_utilization=1.5"], f"{ROLLOUT}.gpu_memory_utilization", "is 1.5", "between 0 and 1"),
    ([f"{ROLLOUT}.max_num_batched_tokens=100"], f"{ROLLOUT}.max_num_batched_tokens", "max_num_seqs=256", "256"),
    ([f"{ROLLOUT}.pipeline_model_parallel_size=2"], ROLLOUT, "pipeline_model_parallel_size", "correct the field"),
    (
        [f"{ROLLOUT}.expert_parallel_size=2"],
        ROLLOUT,
        "must be equal to tensor_model_parallel_size",
        "correct the field",
    ),
    ([f"{ROLLOUT}.mode=sync"], ROLLOUT, "has been removed", "correct the field"),
    ([f"{ROLLOUT}.max_model_len=40000"], f"{ROLLOUT}.max_model_len", "model has 32768 positions", "at most 32768"),
    (["data.max_response_length=40000"], "data.max_response_length", "42048 tokens.* 32768 positions", "shorten"),
    # Micro-batches
    (
        [f"{ROLLOUT}.log_prob_use_dynamic_bsz=False"],
        f"{ROLLOUT}.log_prob_use_dynamic_bsz",
        "wants them equal",
        "follows the actor",
    ),
    (
        [f"{ACTOR}.use_dynamic_bsz=False"],
        f"{ACTOR}.ppo_micro_batch_size_per_gpu",
        "has no value",
        "use_dynamic_bsz=True",
    ),
    (
        [f"{ACTOR}.use_dynamic_bsz=False", f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu=3"],
        f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu",
        "does not divide the 64 responses",
        "1, 2, 4, 8",
    ),
    (
        [
            f"{ACTOR}.use_kl_loss=True",
            f"{FSDP}.ulysses_sequence_parallel_size=2",
            f"{ACTOR}.ppo_max_token_len_per_gpu=11264",
        ],
        f"{REF}.log_prob_max_token_len_per_gpu",
        "is 11264, less than",
        "22528",
    ),
    (
        [f"{ACTOR}.use_kl_loss=True", f"{REF}.log_prob_max_token_len_per_gpu=null"],
        f"{REF}.log_prob_max_token_len_per_gpu",
        "is None",
        "at least 1",
    ),
    # Never read
    ([f"{ACTOR}.grad_clip=0.5"], f"{ACTOR}.grad_clip", "optim.clip_grad=1.0 instead", "optim.clip_grad=0.5"),
    ([f"{ACTOR}.clip_ratio=0.1"], f"{ACTOR}.clip_ratio", "never reads", "clip_ratio_low"),
    ([f"{ACTOR}.ppo_micro_batch_size=4"], f"{ACTOR}.ppo_micro_batch_size", "never reads", "per_gpu"),
    ([f"{ROLLOUT}.log_prob_micro_batch_size=4"], f"{ROLLOUT}.log_prob_micro_batch_size", "never reads", "per_gpu"),
    ([f"{ACTOR}.use_torch_compile=False"], f"{ACTOR}.use_torch_compile", "instead", f"{FSDP}.use_torch_compile=False"),
    (["trainer.balance_batch=False"], "trainer.balance_batch", "never reads", "always balanced"),
    (["actor_rollout_ref.nccl_timeout=1800"], "actor_rollout_ref.nccl_timeout", "never reads", "watchdog_timeout_s"),
    (["trainer.esi_redundant_time=60"], "trainer.esi_redundant_time", "never reads", "save_freq"),
    ([f"{ROLLOUT}.name=sglang"], f"{ROLLOUT}.name", "is sglang", "use vllm"),
    (
        [f"{ROLLOUT}.enable_rollout_routing_replay=True"],
        f"{ROLLOUT}.enable_rollout_routing_replay",
        "FSDP does not have",
        "set it to False",
    ),
    (["algorithm.use_pf_ppo=True"], "algorithm.use_pf_ppo", "never reads", "leave it out"),
    (["data.gen_batch_size=256"], "data.gen_batch_size", "overrides with 1", "max_inflight_gen_batches"),
    (
        [f"{ACTOR}.ppo_micro_batch_size_per_gpu=1"],
        f"{ACTOR}.ppo_micro_batch_size_per_gpu",
        "by tokens",
        "use_dynamic_bsz=False",
    ),
    ([f"{MODEL}.use_fused_kernels=True"], f"{MODEL}.use_fused_kernels", "without logits", "set it to False"),
    ([f"+{MODEL}.model_type=value_model"], f"{MODEL}.model_type", "their own engines", "leave it out"),
    (["actor_rollout_ref.hybrid_engine=False"], "actor_rollout_ref.hybrid_engine", "trainer's GPUs", "True"),
    (["critic.enable=True"], "critic.enable", "asks for a critic", "adv_estimator=htpo"),
    (["algorithm.adv_estimator=gae"], "algorithm.adv_estimator", "asks for a critic", "adv_estimator=htpo"),
    (["trainer.critic_warmup=5"], "trainer.critic_warmup", "train nothing", "set it to 0"),
    # verl's dataclasses
    ([f"+{FSDP}.shard=1"], f"{FSDP}.shard", "no field of verl", "correct the name"),
    ([f"+{MODEL}.flash=1"], f"{MODEL}.flash", "no field of verl's HFModelConfig", "correct the name"),
    (["+algorithm.kl_coeff=0.1"], "algorithm.kl_coeff", "no field of verl", "correct the name"),
    ([f"{ACTOR}.loss_agg_mode=mean"], ACTOR, "Invalid loss_agg_mode: mean", "correct the field"),
    (
        [f"{ACTOR}.optim.lr_scheduler_type=linear"],
        f"{ACTOR}.optim",
        "lr_scheduler_type in .*cosine",
        "correct the field",
    ),
    # Only verl's own validation sees it
    ([f"{ROLLOUT}.temperature=0"], "configuration", "temperature should be greater than 0", "verl names"),
    # Checkpoints
    (
        [f"{ACTOR}.checkpoint.save_contents=[model,optimiser]"],
        f"{ACTOR}.checkpoint.save_contents",
        "has optimiser",
        "optimizer",
    ),
    ([f"{ACTOR}.checkpoint.save_contents=null"], f"{ACTOR}.checkpoint.save_contents", "has None", "optimizer"),
    (
        ["trainer.max_actor_ckpt_to_keep=1"],
        "trainer.max_actor_ckpt_to_keep",
        "before the new one is whole",
        "at least 2",
    ),
    (["trainer.resume_mode=last"], "trainer.resume_mode", "is last", "auto"),
    (
        ["trainer.resume_mode=resume_path"],
        "trainer.resume_from_path",
        "needs a global_step_N",
        "trainer.resume_mode=auto",
    ),
]

# On the CPU, from its two platforms.
CPU_CASES = [
    (["platform=cpu", "model_engine=megatron"], "model_engine", "fsdp_config is set", "platform=cpu_megatron"),
    (["platform=cpu_megatron"], "model_engine", "megatron is set", "platform=cpu"),
    (
        ["platform=cpu_megatron", "model_engine=megatron", f"{MEGATRON}.dtype=bfloat16"],
        f"{MEGATRON}.dtype",
        "is bfloat16",
        "float32",
    ),
    (
        ["platform=cpu_megatron", "model_engine=megatron", f"{MEGATRON}.vanilla_mbridge=False"],
        f"{MEGATRON}.vanilla_mbridge",
        "Transformer Engine",
        "True",
    ),
    (
        ["platform=cpu", f"{FSDP}.mixed_precision.param_dtype=bf16"],
        f"{FSDP}.mixed_precision.param_dtype",
        "is bf16",
        "fp32",
    ),
    (["platform=cpu", f"{FSDP}.model_dtype=bf16"], f"{FSDP}.model_dtype", "is bf16", "fp32"),
]

FILES = ["data.train_files=train.parquet", "data.val_files=val.parquet"]
MEGATRON_8B = ["layout=megatron/qwen3_8b", "model_engine=megatron", *FILES]
FSDP_8B = ["layout=fsdp/qwen3_8b", "model_engine=dp", *FILES]


@pytest.mark.parametrize(
    "broken, field, message, remedy", MEGATRON_CASES, ids=[case_id(case[0]) for case in MEGATRON_CASES]
)
def test_megatron(broken, field, message, remedy):
    assert_refused(config_problems(composed([*MEGATRON_8B, *broken])), field, message, remedy)


@pytest.mark.parametrize("broken, field, message, remedy", FSDP_CASES, ids=[case_id(case[0]) for case in FSDP_CASES])
def test_fsdp(broken, field, message, remedy):
    assert_refused(config_problems(composed([*FSDP_8B, *broken])), field, message, remedy)


@pytest.mark.parametrize("broken, field, message, remedy", CPU_CASES, ids=[case_id(case[0]) for case in CPU_CASES])
def test_cpu(inputs, broken, field, message, remedy):
    config = composed([*FILES, f"{MODEL}.path={inputs}/model", *broken])
    assert_refused(config_problems(config), field, message, remedy)


@pytest.mark.parametrize("engine", [["platform=cpu"], ["platform=cpu_megatron", "model_engine=megatron"]])
def test_both_platforms_of_the_cpu_are_sound(inputs, engine):
    assert config_problems(composed([*FILES, f"{MODEL}.path={inputs}/model", *engine])) == []


def test_problems_of_several_kinds_come_together():
    broken = [f"{EXPERT}=2", f"{MEGATRON}.use_mbridge=False", f"+{MEGATRON}.tensor_parallel=2", "trainer.use_v1=False"]
    found = {problem.field for problem in config_problems(composed([*MEGATRON_8B, *broken]))}
    assert found == {EXPERT, f"{MEGATRON}.use_mbridge", f"{MEGATRON}.tensor_parallel", "trainer.use_v1"}


def test_a_wrong_engine_hides_what_follows_from_it():
    """One mistake is one problem: what the other engine's fields would say is not printed."""
    problems = config_problems(composed([*MEGATRON_8B, "model_engine=dp"]))
    assert [problem.field for problem in problems] == ["layout"]


def test_uneven_pipeline_stages_are_allowed():
    uneven = [f"{PIPELINE}=5", f"+{MEGATRON}.override_transformer_config.num_layers_in_last_pipeline_stage=4"]
    assert config_problems(composed([*MEGATRON_8B, "trainer.nnodes=5", *uneven])) == []
