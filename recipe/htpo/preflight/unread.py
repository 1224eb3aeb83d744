# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Settings that verl 0.9.1's V1 trainer takes and never reads, or that do not do what they say."""

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recipe.htpo.preflight.plan.topology import find_topology
from recipe.htpo.preflight.problem import Problem

ACTOR = "actor_rollout_ref.actor"
ROLLOUT = "actor_rollout_ref.rollout"
MODEL = "actor_rollout_ref.model"

# Never read: field -> (the value that it has when nobody touched it, what to use).
UNREAD: dict[str, tuple[Any, str]] = {
    "trainer.balance_batch": (True, "leave it out; batches are always balanced"),
    "algorithm.use_pf_ppo": (False, "leave it out; the V1 trainer has no preference feedback"),
    f"{ACTOR}.clip_ratio": (0.2, f"set {ACTOR}.clip_ratio_low and clip_ratio_high"),
    f"{ACTOR}.ppo_micro_batch_size": (None, f"set {ACTOR}.ppo_micro_batch_size_per_gpu"),
    f"{ROLLOUT}.log_prob_micro_batch_size": (None, f"set {ROLLOUT}.log_prob_micro_batch_size_per_gpu"),
    # verl/workers/engine_workers.py hands timeout_second=None on, whatever this says.
    "actor_rollout_ref.nccl_timeout": (600, "leave it out; htpo.watchdog_timeout_s ends a run that hangs"),
    # Read by the trainers before V1 only, with their save before the end of an allocation.
    "trainer.esi_redundant_time": (0, "leave it out, and set trainer.save_freq to what may be lost"),
    f"{ROLLOUT}.over_sample_rate": (0, "leave it out; only SGLang's synchronous rollout had it"),
}

# Two fields of one name, of which the engines read the second.
SHADOWED = (
    (f"{ACTOR}.grad_clip", f"{ACTOR}.optim.clip_grad"),
    (f"{ACTOR}.use_fused_kernels", f"{MODEL}.use_fused_kernels"),
    (f"{ACTOR}.use_remove_padding", f"{MODEL}.use_remove_padding"),
    (f"{ACTOR}.megatron.use_remove_padding", f"{MODEL}.use_remove_padding"),
    (f"{ACTOR}.use_torch_compile", f"{ACTOR}.fsdp_config.use_torch_compile"),
)

ABSENT = object()


def check_unread(config: DictConfig) -> Iterator[Problem]:
    """No setting stands where nothing reads it."""
    for field, (untouched, remedy) in UNREAD.items():
        value = OmegaConf.select(config, field)
        if value != untouched:
            yield Problem(field, f"is {value}, but verl 0.9.1 never reads this field", remedy)
    for field, read in SHADOWED:
        value, effective = (OmegaConf.select(config, name, default=ABSENT) for name in (field, read))
        if ABSENT not in (value, effective) and value != effective:
            yield Problem(field, f"is {value}, but verl 0.9.1 reads {read}={effective} instead", f"set {read}={value}")


def check_router_replay(config: DictConfig) -> Iterator[Problem]:
    """R3 trains with the experts that vLLM chose: the engine replays what the rollout has recorded, or neither does.

    verl/workers/engine/megatron/transformer_impl.py and vllm_rollout/vllm_async_server.py; FSDP has no replay.
    """
    records = config.actor_rollout_ref.rollout.enable_rollout_routing_replay
    engine = config.actor_rollout_ref.actor.get("megatron")
    mode = "disabled" if engine is None else engine.router_replay.mode
    if mode == "R3" and not records:
        yield Problem(
            f"{ROLLOUT}.enable_rollout_routing_replay",
            f"is False, but {ACTOR}.megatron.router_replay.mode=R3 replays what the rollout records",
            "set it to True, or router_replay.mode=disabled",
        )
    elif records and mode != "R3":
        where = "which FSDP does not have" if engine is None else f"but {ACTOR}.megatron.router_replay.mode is {mode}"
        yield Problem(
            f"{ROLLOUT}.enable_rollout_routing_replay",
            f"is True for the replay of experts, {where}",
            "set it to False" if engine is None else "set router_replay.mode=R3, or it to False",
        )


def check_misleading(config: DictConfig) -> Iterator[Problem]:
    """No setting that would be overridden, or keep the actor from being trained as it is meant to be."""
    actor = config.actor_rollout_ref.actor
    if config.data.get("gen_batch_size") not in (None, 1) and config.algorithm.filter_groups.enable:
        yield Problem(
            "data.gen_batch_size",
            f"is {config.data.gen_batch_size}, which dynamic sampling overrides with 1",
            "set algorithm.filter_groups.max_inflight_gen_batches: prompts in flight, in training batches",
        )
    if config.actor_rollout_ref.rollout.name != "vllm":
        yield Problem(
            f"{ROLLOUT}.name", f"is {config.actor_rollout_ref.rollout.name}, which HTPO was not run with", "use vllm"
        )
    if actor.use_dynamic_bsz and actor.ppo_micro_batch_size_per_gpu is not None:
        yield Problem(
            f"{ACTOR}.ppo_micro_batch_size_per_gpu",
            f"is {actor.ppo_micro_batch_size_per_gpu}, but use_dynamic_bsz=True makes micro-batches by tokens",
            "set ppo_max_token_len_per_gpu, or use_dynamic_bsz=False",
        )
    if config.model_engine == "dp" and actor.strategy == "fsdp" and actor.fsdp_config.offload_policy:
        yield Problem(
            f"{ACTOR}.fsdp_config.offload_policy", "is True, but FSDP1 ignores it", f"set {ACTOR}.strategy=fsdp2"
        )
    if not config.actor_rollout_ref.hybrid_engine and find_topology(config).colocated:
        yield Problem(
            "actor_rollout_ref.hybrid_engine",
            f"is False, but {config.trainer.v1.trainer_mode} generates on the trainer's GPUs",
            "set it to True, or use trainer.v1.trainer_mode=htpo_separate_async",
        )
    if config.actor_rollout_ref.model.use_fused_kernels:
        yield Problem(
            f"{MODEL}.use_fused_kernels",
            "is True: log-probabilities then come without logits, and the entropy that groups the tokens from kernels "
            "that this recipe was not tested with",
            "set it to False",
        )
    if config.critic.enable or config.algorithm.adv_estimator == "gae":
        yield Problem(
            "critic.enable" if config.critic.enable else "algorithm.adv_estimator",
            "asks for a critic, which HTPO's advantage does not use",
            "set algorithm.adv_estimator=htpo and critic.enable=null",
        )
    elif config.trainer.critic_warmup:
        yield Problem(
            "trainer.critic_warmup",
            f"is {config.trainer.critic_warmup}: so many steps would train nothing, there is no critic to warm up",
            "set it to 0",
        )
