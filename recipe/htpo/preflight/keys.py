# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""One table of keys: what a field may not be, given the others; and what it may be though it is known to go wrong.

A row has the field, the condition under which it is refused, the message and the remedy. The texts name settings by
`Settings`: `{value}` is the field's own, `{actor.use_dynamic_bsz}` another one, `{found}` what the condition returned.
"""

import re
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from recipe.htpo.config import dump_config, objective_config
from recipe.htpo.objective import CELL_NAMES, CellConfig, load_preset
from recipe.htpo.preflight.plan.topology import has_reference
from recipe.htpo.preflight.settings import (
    ABSENT,
    ACTOR,
    FSDP,
    MEGATRON,
    MODEL,
    REF,
    REWARD,
    ROLLOUT,
    TRANSFORMER,
    VERL_LOSSES,
    Key,
    Settings,
    check,
)
from recipe.htpo.problem import Problem

REPLAY = f"{ROLLOUT}.enable_rollout_routing_replay"
OVERLONG = "reward.reward_kwargs.overlong_buffer_cfg"
LOSS_MODE = f"{ACTOR}.policy_loss.loss_mode"
QUEUE_UNITS = "transfer_queue.backend.SimpleStorage.num_data_storage_units"

REQUIRED = (f"{MODEL}.path", "data.train_files", "data.val_files")
TRAINER_MODES = ("htpo_sync", "htpo_colocate_async")
# Of Megatron's groups.
PARALLEL_SIZES = tuple(
    f"{name}_parallel_size"
    for name in ("tensor_model", "pipeline_model", "virtual_pipeline_model", "context", "expert_model", "expert_tensor")
)
# megatron-core's.
GRANULARITIES = ("full", "selective")
CONTENTS = ("model", "optimizer", "extra", "hf_model")
RESUME_MODES = ("auto", "disable", "resume_path")
FULL = ("fp32", "float32")
# What is fp32 on the CPU platform, by its name there.
FULL_PRECISION = {
    "float32": (f"{ROLLOUT}.dtype", f"{MEGATRON}.dtype"),
    "fp32": (
        f"{FSDP}.model_dtype",
        *(f"{FSDP}.mixed_precision.{name}" for name in ("param_dtype", "reduce_dtype", "buffer_dtype")),
    ),
}
# verl's default, and megatron-core's.
ADAM_BETAS = [0.9, 0.999]
NO_CRITIC = "set algorithm.adv_estimator=htpo and critic.enable=null"
# Those of verl's `kl_penalty`; with + the gradient is that of k2.
KL_ESTIMATORS = ("kl", "k1", "abs", "mse", "k2", "low_var_kl", "k3")
# Of verl/utils/tracking.py, `Tracking`.
LOGGERS = (
    "clearml",
    "console",
    "file",
    "mlflow",
    "rl_insight",
    "swanlab",
    "tensorboard",
    "trackio",
    "vemlp_wandb",
    "wandb",
)
# What only verl's older trainer makes (verl/trainer/ppo/ray_trainer.py).
ESTIMATORS_LACK = {
    "gdpo": "rewards by key",
    "optimal_token_baseline": "the sum of squared probabilities",
    "remax": "rewards of greedy responses",
    "tir_optimal_token_baseline": "the sum of squared probabilities",
}
# Advantage transforms that do not read the base estimator's advantages.
OWN_ESTIMATORS = ("asymre", "gtpo", "intuitor", "maxrl", "qae")
# What a resume needs of a checkpoint; weights in either format, under Megatron.
RESUMED = ("model", "optimizer", "extra")
# Numbers that the recipe's reward has for every response, and verl's name of the reward itself.
REWARD_METRICS = ("acc", "score", "reward")
# What a loss was made for, or forces.
LOSS_AGGREGATION = {"gspo": "seq-mean-token-mean", "sapo": "seq-mean-token-mean"}
# Rules that push a token down whose probability has fallen, without end, and where they apply. `released_penalize` and
# `signfix_encourage` push it up again.
UNBOUNDED_RULES = ("penalize", "keep_gradient", "released_encourage", "signfix_penalize")
UNBOUNDED_REGIONS = ("all", "below", "outside")
# Rules that are PPO's where the ratio is 1, whatever their region.
PPO_AT_ONE = ("invert_ratio", "released_encourage", "released_penalize", "signfix_encourage", "signfix_penalize")
OFF_ONE = ("above", "below", "outside")

# With these on, the old policy's forward pass has nothing to score tokens by -> what it lacks.
SCORES_LACK = {
    f"{MODEL}.mtp.enable": "the input of the LM head, and multi-token prediction calls it several times",
    f"{MEGATRON}.dynamic_context_parallel": "responses that stay on their ranks",
}

# Composed by verl 0.9.1 and never read by its V1 entry point (verl/trainer/config/legacy_reward_impl.yaml) -> the
# field that is read.
LEGACY_KEYS = {
    "custom_reward_function.path": "reward.custom_reward_function.path",
    "custom_reward_function.name": "reward.custom_reward_function.name",
    "reward_model.num_workers": "reward.num_workers",
    "reward_model.reward_manager": "reward.reward_manager.name",
    "reward_model.reward_loop_source": "reward.reward_manager.source",
    "reward_model.reward_loop_module_path": "reward.reward_manager.module.path",
    "reward_model.reward_loop_class_name": "reward.reward_manager.name",
    "reward_model.overlong_buffer": "reward.reward_kwargs.overlong_buffer_cfg",
    "reward_model.enable": "reward.reward_model.enable",
    "reward_model.enable_resource_pool": "reward.reward_model.enable_resource_pool",
    "reward_model.n_gpus_per_node": "reward.reward_model.n_gpus_per_node",
    "reward_model.nnodes": "reward.reward_model.nnodes",
    "reward_model.model": "reward.reward_model.model_path",
    "reward_model.rollout": "reward.reward_model.rollout",
    "sandbox_fusion.url": "reward.sandbox_fusion.url",
    "sandbox_fusion.max_concurrent": "reward.sandbox_fusion.max_concurrent",
    "sandbox_fusion.memory_limit_mb": "reward.sandbox_fusion.memory_limit_mb",
}

# Never read -> (the value that it has when nobody touched it, what to use).
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

# Shadowed -> the field of the same meaning that the engines read.
SHADOWED = {
    f"{ACTOR}.grad_clip": f"{ACTOR}.optim.clip_grad",
    f"{ACTOR}.use_fused_kernels": f"{MODEL}.use_fused_kernels",
    f"{ACTOR}.use_remove_padding": f"{MODEL}.use_remove_padding",
    f"{MEGATRON}.use_remove_padding": f"{MODEL}.use_remove_padding",
    f"{ACTOR}.use_torch_compile": f"{FSDP}.use_torch_compile",
}


def _is_set(value: Any) -> bool:
    """A leaf below it, or it itself, has a value."""
    if isinstance(value, DictConfig):
        return any(_is_set(leaf) for leaf in value.values())
    return value is not ABSENT and value is not None


def _shadowed(read: str) -> Callable[[Settings], Any]:
    def wrong(s: Settings) -> Any:
        effective = OmegaConf.select(s.config, read, default=ABSENT)
        return ABSENT not in (s.value, effective) and s.value != effective and [effective]

    return wrong


def _unread(untouched: Any) -> Callable[[Settings], bool]:
    return lambda s: s.value not in (untouched, ABSENT)


def _other_rows(s: Settings) -> list[str]:
    plain = load_preset("dapo").cells[1]
    return s.cells(lambda cell: cell != plain)


def _scales_no_kl(name: str) -> Callable[[Settings], bool]:
    def wrong(s: Settings) -> bool:
        return s.loss == "htpo" and not s.actor.use_kl_loss and s.cells(lambda cell: cell.kl_scale != 1)[:1] == [name]

    return wrong


def _unbounded(cell: CellConfig) -> bool:
    return cell.rule in UNBOUNDED_RULES and cell.region in UNBOUNDED_REGIONS and cell.floor == 0


def _ppo_at_one(cell: CellConfig) -> bool:
    off_one = cell.region in OFF_ONE or cell.gate == "ratio_and_sign"
    return cell.rule != "ppo" and (cell.rule in PPO_AT_ONE or off_one)


def _no_number(fits: Callable[[float], bool], null: bool = False) -> Callable[[Settings], bool]:
    def wrong(s: Settings) -> bool:
        number = isinstance(s.value, int | float) and not isinstance(s.value, bool)
        return not (fits(s.value) if number else null and s.value is None)

    return wrong


def _no_clip(fits: Callable[[float], bool], *losses: str) -> Callable[[Settings], bool]:
    wrong = _no_number(fits)
    return lambda s: s.loss in losses and wrong(s)


def _other_than_the_actors(name: str) -> Callable[[Settings], Any]:
    def wrong(s: Settings) -> Any:
        actors = s.megatron[name]
        return has_reference(s.config) and s.value != actors and [actors]

    return wrong


def _never_applies(name: str) -> Callable[[Settings], Any]:
    def wrong(s: Settings) -> Any:
        widths = s.actor.clip_ratio_low, s.actor.clip_ratio_high
        if s.loss != "htpo" or s.objective is None or not all(isinstance(width, int | float) for width in widths):
            return False
        cell = getattr(s.objective.cells, name)
        if cell.rule == "ppo" or cell.can_apply(*widths):
            return False
        ceiling = "none" if cell.ceiling is None else f"{cell.ceiling:g}"
        return [f"region {cell.region}", f"floor {cell.floor:g}", f"ceiling {ceiling}"]

    return wrong


def _no_estimator(s: Settings) -> list[str]:
    from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY

    names = {"htpo", *map(str, ADV_ESTIMATOR_REGISTRY)}
    return [] if s.value in names else sorted(names - {"gae", *ESTIMATORS_LACK})


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _listed(value: Any) -> list[str]:
    """The texts of a list; what is none is its only one."""
    return [str(item) for item in value] if isinstance(value, ListConfig) else [str(value)]


def _not_resumed(s: Settings) -> list[str]:
    loaded = set(_listed(s.value))
    if s.actor.strategy == "megatron" and "hf_model" in loaded:
        loaded.add("model")
    return [] if s.trainer.resume_mode == "disable" else [name for name in RESUMED if name not in loaded]


def _no_kl_estimator(s: Settings) -> bool:
    return str(s.value).removesuffix("+") not in KL_ESTIMATORS


# fmt: off
# Whatever engine trains.
GENERAL = (
    # The loss is the table's, or one of verl's with a configuration that asks for nothing else
    *(Key(f"objective.cells.{name}.kl_scale", _scales_no_kl(name), "scales a KL term that is off",
          f"set {ACTOR}.use_kl_loss=True, or kl_scale=1")
      for name in CELL_NAMES),
    *(Key(f"objective.cells.{name}", _never_applies(name),
          "has a rule that never applies with the row's or the actor's clip widths: {found}",
          "lower floor, raise ceiling, change region, or set rule=ppo")
      for name in CELL_NAMES),
    Key(LOSS_MODE, lambda s: s.verls_loss and _other_rows(s),
        "is {value}, so these rows of the table would have no effect: {found}",
        "choose a preset that is made for it (objective={made_for_loss}), or loss_mode=htpo"),
    Key("objective.entropy_source", lambda s: s.verls_loss and s.value == "current",
        "is current, but {loss} does not split tokens by entropy; it would be computed for nothing", "set it to old"),
    Key("htpo.dump_tokens.steps", lambda s: s.verls_loss and s.value,
        "asks for tokens, but {loss} is verl's loss, which says nothing of single tokens", "set it to []"),
    Key(f"{ACTOR}.policy_loss.dro_beta", lambda s: s.loss == "dro" and not s.value,
        "has no value, which dro needs", "set it"),
    Key(LOSS_MODE, lambda s: s.value not in ("htpo", *VERL_LOSSES), "is {value}",
        f"use htpo (the table), or one of verl's: {', '.join(VERL_LOSSES)}"),
    Key(f"{ACTOR}.loss_agg_mode", lambda s: s.value != (wanted := LOSS_AGGREGATION.get(s.loss, s.value)) and [wanted],
        "is {value}, but {loss} has {found}", "set it so"),
    Key(f"{ACTOR}.loss_scale_factor",
        lambda s: s.actor.loss_agg_mode == "seq-mean-token-sum-norm" and s.value is None,
        "is not set, so verl would divide by the width of each micro-batch",
        "set a constant, such as ${{data.max_response_length}}"),
    Key("algorithm.rollout_correction.bypass_mode", lambda s: s.value is True,
        "skips the old policy's forward pass, so there is no entropy to group tokens by{no_scores}", "set it to False"),
    # What scores tokens in the old policy's pass (THR, NTHR), and what the others read
    *(Key(field, lambda s: s.scored and s.value is True, f"is True, but objective.weights={{scored}} needs {lacks}",
          "set it to False")
      for field, lacks in SCORES_LACK.items()),
    Key(f"{ROLLOUT}.calculate_log_probs",
        lambda s: not s.value and s.weights is not None and "rollout_log_prob" in s.weights.needs,
        "is False, but objective.weights={weights.name} compares the sampler's log-probabilities with the trainer's",
        "set it to True"),
    # What would end the run only after its processes have started, or its first generation
    Key("htpo.watchdog_timeout_s", _no_number(lambda v: 0 < v < inf), "is {value}",
        "set it to a number of seconds above 0"),
    Key("htpo.deadline_margin_s", _no_number(lambda v: 0 <= v < inf), "is {value}",
        "set it to a number of seconds, 0 or more"),
    Key("htpo.replay_poll_interval_s", _no_number(lambda v: 0 < v < inf, null=True), "is {value}",
        "set it to a number of seconds above 0, or null"),
    Key("htpo.max_failed_rollouts", _no_number(lambda v: 0 <= v <= 1), "is {value}", "set it to a share from 0 to 1"),
    Key("htpo.gpu_memory_gib", _no_number(lambda v: 0 < v < inf), "is {value}", "set it to a number of GiB above 0"),
    Key(f"{ACTOR}.optim.lr", _no_number(lambda v: 0 <= v < inf), "is {value}", "set it to a rate of 0 or more"),
    Key(f"{ACTOR}.optim.weight_decay", _no_number(lambda v: 0 <= v < inf), "is {value}", "set it to 0 or more"),
    Key(f"{ACTOR}.optim.lr_warmup_steps", _no_number(lambda v: v == int(v), null=True), "is {value}",
        "set it to a number of steps"),
    Key(f"{ACTOR}.entropy_coeff", _no_number(lambda v: abs(v) < inf), "is {value}", "set it to a number"),
    *(Key(f"{ROLLOUT}.{name}", _no_number(lambda v: 0 < v <= 1), "is {value}",
          "set it to a share of the probability above 0; 1 keeps all")
      for name in ("top_p", "val_kwargs.top_p")),
    Key("data.seed", lambda s: s.value is not None and not isinstance(s.value, int), "is {value}",
        "set it to a whole number, or null"),
    Key("trainer.logger", lambda s: sorted(set(_texts(s.value)) - set(LOGGERS)), "has {found}",
        f"choose from {', '.join(LOGGERS)}"),
    Key(f"{ACTOR}.clip_ratio_low", _no_clip(lambda v: 0 <= v < 1, "htpo"), "is {value}", "set it to a width in [0, 1)"),
    Key(f"{ACTOR}.clip_ratio_high", _no_clip(lambda v: 0 <= v < inf, "htpo"), "is {value}",
        "set it to a width of 0 or more"),
    Key(f"{ACTOR}.clip_ratio_c", _no_clip(lambda v: v > 1, "htpo", "vanilla"), "is {value}",
        "set it to a ratio above 1; the dual clip is off far above those that occur, such as 1e9"),
    Key("algorithm.adv_estimator", _no_estimator, "is {value}, which no advantage estimator is called",
        "use htpo, or another of {found}"),
    Key("algorithm.adv_estimator", lambda s: [lacks] if (lacks := ESTIMATORS_LACK.get(s.value)) else False,
        "is {value}, but verl's V1 trainer does not make what it needs: {found}", "use htpo"),
    Key("algorithm.use_kl_in_reward",
        lambda s: s.value is True and s.weights is not None and s.weights.name in OWN_ESTIMATORS,
        "is True, but objective.weights={weights.name} makes its advantages without the rewards that it changes",
        f"set it to False, and {ACTOR}.use_kl_loss=True for a KL term"),
    Key("algorithm.filter_groups.metric",
        lambda s: s.config.algorithm.filter_groups.enable and s.reward.custom_reward_function.path == REWARD
        and s.value not in REWARD_METRICS,
        "is {value}, which the reward function does not return", f"use acc (or {', '.join(REWARD_METRICS[1:])})"),
    Key("algorithm.filter_groups.max_num_gen_batches",
        lambda s: not isinstance(s.value, int) or s.value < 0, "is {value}",
        "set it to a number of generation batches, or 0 for no limit"),
    Key(f"{ACTOR}.kl_loss_type", lambda s: s.actor.use_kl_loss and _no_kl_estimator(s), "is {value}",
        f"use one of {', '.join(KL_ESTIMATORS)}, with or without +"),
    Key("algorithm.kl_penalty", lambda s: s.config.algorithm.use_kl_in_reward and _no_kl_estimator(s), "is {value}",
        f"use one of {', '.join(KL_ESTIMATORS)}, with or without +"),
    Key("distillation.enabled", lambda s: s.value is True,
        "is True, but the HTPO loss replaces the one in which verl distils, so nothing would be distilled",
        "set it to False"),
    # It is asked after the batch was taken, and its `acc` becomes a field of the batch beside the reward's extra info
    # (verl/trainer/ppo/v1/trainer_base.py, _compute_reward_colocate)
    Key("reward.reward_model.enable_resource_pool", lambda s: s.reward.reward_model.enable and not s.value,
        "is False: a reward model on the training GPUs scores a batch after it was taken, and its `acc` does not stand "
        "where dynamic sampling and the token groups read it",
        "set it to True with reward.reward_model.nnodes and n_gpus_per_node, so that the reward function calls the "
        "model and returns `acc`, or set reward.reward_model.enable=False"),
    Key("trainer.v1.trainer_mode", lambda s: s.value not in TRAINER_MODES,
        "is {value}, which does not install the HTPO loss", f"use one of {', '.join(TRAINER_MODES)}"),
    Key("trainer.use_v1", lambda s: not s.value, "is False; HTPO runs on verl's V1 trainer", "set it to True"),
    *(Key(old, lambda s: _is_set(s.value), "is set, but verl 0.9.1 silently ignores this key", f"use {new}")
      for old, new in LEGACY_KEYS.items()),
    Key(f"{ACTOR}.checkpoint.save_contents", lambda s: sorted(set(_listed(s.value)) - set(CONTENTS)),
        "has {found}", f"choose from {', '.join(CONTENTS)}"),
    Key(f"{ACTOR}.checkpoint.load_contents", _not_resumed,
        "lacks {found}: a resumed run would go on with the step's number and without them",
        f"set {ACTOR}.checkpoint.save_contents and load_contents to at least [{','.join(RESUMED)}], or "
        "trainer.resume_mode=disable"),
    *(Key(f"trainer.{name}", lambda s: not isinstance(s.value, int), "is {value}",
          "set it to a number of steps, or -1 for never")
      for name in ("save_freq", "test_freq")),
    Key("trainer.max_actor_ckpt_to_keep", lambda s: s.value == 1,
        "is 1; verl removes the old checkpoint before the new one is whole, so a run killed there has none",
        "keep at least 2, or null for all"),
    Key("trainer.resume_mode", lambda s: s.value not in RESUME_MODES, "is {value}",
        f"use one of {', '.join(RESUME_MODES)}"),
    Key("trainer.resume_from_path",
        lambda s: s.trainer.resume_mode == "resume_path" and not re.search(r"global_step_\d+$", str(s.value)),
        "is {value}; trainer.resume_mode=resume_path needs a global_step_N directory, with no slash behind it",
        "set it, or trainer.resume_mode=auto"),
    Key("layout", lambda s: s.cpu and s.config.htpo.layout, "{found} is for GPUs, but trainer.device=cpu",
        "leave layout out"),
)

# Sizes are numbers, and the fields are those of one engine.
ENGINE = (
    *(Key(field, lambda s: s.cpu and s.value not in (*FULL, ABSENT), "is {value}, not fp32",
          f"use {full}; other precisions are about 20 times slower on most CPUs, and comparisons with vLLM say nothing")
      for full, fields in FULL_PRECISION.items() for field in fields),
    # Read by nobody, or only under another name
    *(Key(field, _unread(untouched), "is {value}, but verl 0.9.1 never reads this field", remedy)
      for field, (untouched, remedy) in UNREAD.items()),
    *(Key(field, _shadowed(read), f"is {{value}}, but verl 0.9.1 reads {read}={{found}} instead",
          f"set {read}={{value}}")
      for field, read in SHADOWED.items()),
    # Overridden, or not what it says
    Key("data.gen_batch_size", lambda s: s.config.algorithm.filter_groups.enable and s.value not in (None, 1, ABSENT),
        "is {value}, which dynamic sampling overrides with 1",
        "set algorithm.filter_groups.max_inflight_gen_batches: prompts in flight, in training batches"),
    Key("algorithm.filter_groups.max_num_gen_batches",
        lambda s: s.config.algorithm.filter_groups.enable and s.ahead and isinstance(s.value, int)
        and 0 < s.value < s.ahead + 2,
        "is {value}, but the {ahead} batches that are generated ahead (num_warmup_batches) and the step's own count "
        "already, so no prompt could be replaced", "set it to {ahead_and_refill} or more, or 0 for no limit"),
    Key(f"{ROLLOUT}.name", lambda s: s.value != "vllm", "is {value}, which HTPO was not run with", "use vllm"),
    Key(f"{ACTOR}.ppo_micro_batch_size_per_gpu", lambda s: s.actor.use_dynamic_bsz and s.value is not None,
        "is {value}, but use_dynamic_bsz=True makes micro-batches by tokens",
        "set ppo_max_token_len_per_gpu, or use_dynamic_bsz=False"),
    Key(f"{ROLLOUT}.log_prob_use_dynamic_bsz", lambda s: s.value != s.actor.use_dynamic_bsz,
        f"is {{value}}, but {ACTOR}.use_dynamic_bsz={{actor.use_dynamic_bsz}}; verl wants them equal",
        "leave it out, it follows the actor"),
    Key("actor_rollout_ref.hybrid_engine", lambda s: not s.value,
        "is False, but {trainer.v1.trainer_mode} generates on the trainer's GPUs (verl's trainer with separate servers "
        "was not run with this recipe)", "set it to True"),
    Key(f"{MODEL}.use_fused_kernels", lambda s: s.value is True,
        "is True: log-probabilities then come without logits, and verl's kernels hand out the entropy that groups the "
        "tokens in bf16, in which many are equal{no_scores}", "set it to False"),
    Key(f"{MODEL}.model_type", lambda s: s.value not in ("language_model", ABSENT),
        "is {value}: HTPO's trainers name their own engines there", "leave it out"),
    Key("critic.enable", lambda s: s.value, "asks for a critic, which HTPO's advantage does not use", NO_CRITIC),
    Key("algorithm.adv_estimator", lambda s: s.value == "gae" and not s.config.critic.enable,
        "asks for a critic, which HTPO's advantage does not use", NO_CRITIC),
    Key("trainer.critic_warmup", lambda s: s.value,
        "is {value}: so many steps would train nothing, there is no critic to warm up", "set it to 0"),
    # Sizes and limits that no division decides
    Key(f"{ROLLOUT}.n", lambda s: s.value < 2,
        "is 1: one response has no group to be compared with, every advantage is its raw reward",
        "set it to at least 2"),
    Key(f"{ROLLOUT}.gpu_memory_utilization", _no_number(lambda v: 0 < v <= 1), "is {value}",
        "set it to a share of the GPU's memory between 0 and 1"),
    Key(f"{ROLLOUT}.max_num_batched_tokens", lambda s: s.value < s.rollout.max_num_seqs,
        "is {value}, less than max_num_seqs={rollout.max_num_seqs}, which vLLM refuses",
        "raise it to at least {rollout.max_num_seqs}, or lower max_num_seqs"),
    Key(f"{ROLLOUT}.max_model_len", lambda s: s.value is not None and s.value < s.length,
        "is {value}, less than max_prompt_length + max_response_length = {length}",
        "raise it to at least {length}, or shorten prompt or response"),
    Key("data.max_response_length", lambda s: s.positions and s.length > s.positions,
        "prompt and response may have {length} tokens, the model has {positions} positions",
        "shorten data.max_prompt_length or data.max_response_length"),
    Key(f"{ROLLOUT}.max_model_len", lambda s: s.value is not None and s.positions and s.value > s.positions,
        "is {value}, the model has {positions} positions", "lower it to at most {positions}"),
    Key(f"{OVERLONG}.len", lambda s: s.overlong and not 0 < s.value <= s.data.max_response_length,
        "is {value}; it must lie between 1 and data.max_response_length={data.max_response_length}",
        "change it, or set overlong_buffer_cfg.enable=False"),
    Key("reward.reward_manager.name", lambda s: s.overlong and s.value != "dapo",
        "is {value}, which knows no overlong punishment", f"use dapo, or set {OVERLONG}.enable=False"),
)

MEGATRON_KEYS = (
    Key(f"{MEGATRON}.vanilla_mbridge", lambda s: s.cpu and not s.value,
        "is False; Megatron-Bridge needs Transformer Engine, which needs a GPU", "set it to True"),
    # With what verl's engine fails after minutes: at the start, at the first export or update
    Key(f"{MEGATRON}.use_distributed_optimizer", lambda s: not s.value,
        "is False; verl 0.9.1 then fails when it exports the weights to vLLM", "set it to True"),
    Key(f"{MEGATRON}.use_mbridge", lambda s: not s.value,
        "is False; verl 0.9.1 has no other way to load weights", "set it to True"),
    Key(f"{ACTOR}.entropy_from_logits_with_chunking",
        lambda s: s.megatron.entropy_from_logits_with_chunking
        and (s.actor.calculate_entropy or s.actor.entropy_coeff),
        "is True, but verl 0.9.1 cannot differentiate the entropy in chunks under Megatron, and the update computes it "
        "(calculate_entropy or entropy_coeff)", "set it to False"),
    Key(f"{MEGATRON}.dist_checkpointing_path", lambda s: s.megatron.use_dist_checkpointing and s.value is None,
        "has no value, but use_dist_checkpointing=True loads the first weights from there",
        "set it, or use_dist_checkpointing=False"),
    Key(f"{ACTOR}.optim.use_checkpoint_opt_param_scheduler", lambda s: not s.value,
        "is False; a resumed run would begin its learning-rate schedule anew", "set it to True"),
    Key(f"{ACTOR}.optim.betas", lambda s: list(s.value) != ADAM_BETAS,
        "is {value}, which verl 0.9.1 does not hand to megatron-core",
        f"leave it at {ADAM_BETAS}, and set +{ACTOR}.optim.override_optimizer_config.adam_beta1 and adam_beta2"),
    Key(f"{ACTOR}.optim.lr_warmup_steps", lambda s: isinstance(s.value, int) and s.value >= s.schedule,
        "is {value}, and the schedule has {schedule} steps (optim.lr_decay_steps, or trainer.total_training_steps); "
        "megatron-core needs more steps than warm-up", "lower it, or train longer"),
    Key(f"{TRANSFORMER}.recompute_granularity", lambda s: s.value not in (None, ABSENT, *GRANULARITIES),
        "is {value}", "set it to full, selective or null"),
    Key(f"{TRANSFORMER}.recompute_method",
        lambda s: s.recomputes in GRANULARITIES and s.value not in (None, ABSENT, "block", "uniform"),
        "is {value}", "set it to block or uniform"),
    Key(f"{TRANSFORMER}.recompute_num_layers",
        lambda s: s.recomputes == "selective" and s.value not in (None, ABSENT),
        "is {value}, which megatron-core refuses with recompute_granularity=selective: that recomputes parts of all "
        "layers", "set it to null, or recompute_granularity=full"),
    *(Key(f"{TRANSFORMER}.{name}",
          lambda s: s.recomputes == "full" and s.value in (None, ABSENT),
          "has no value, but recompute_granularity=full needs it",
          "set recompute_method=uniform and recompute_num_layers=1")
      for name in ("recompute_method", "recompute_num_layers")),
    # The process has one set of groups, of the engine that is made first
    # (verl/workers/engine/megatron/transformer_impl.py, _init_device_mesh)
    *(Key(f"{REF}.megatron.{name}", _other_than_the_actors(name),
          f"is {{value}}, and {MEGATRON}.{name}={{found}}; verl 0.9.1 makes the groups once, by the reference "
          "policy's, and the actor would train in them", "leave it out, it follows the actor")
      for name in PARALLEL_SIZES),
    Key(f"{MEGATRON}.virtual_pipeline_model_parallel_size",
        lambda s: s.topology.virtual_pipeline > 1 and s.topology.pipeline == 1,
        "is {value}, but there is one pipeline stage",
        f"set it to null, or {MEGATRON}.pipeline_model_parallel_size"),
    Key(f"{MEGATRON}.expert_model_parallel_size", lambda s: s.value > 1 and s.shape and not s.shape.num_experts,
        "is {value}, but {shape.name} has no experts", "set it to 1"),
    Key(f"{MEGATRON}.sequence_parallel",
        lambda s: not s.value and s.topology.tensor > 1 and s.shape and s.shape.num_experts,
        "is False; Megatron trains experts under tensor parallelism with sequence parallelism only", "set it to True"),
    # R3: the engine replays the experts that the rollout has recorded, or neither does
    # (verl/workers/engine/megatron/transformer_impl.py, vllm_rollout/vllm_async_server.py)
    Key(REPLAY, lambda s: not s.value and s.megatron.router_replay.mode == "R3",
        f"is False, but {MEGATRON}.router_replay.mode=R3 replays what the rollout records",
        "set it to True, or router_replay.mode=disabled"),
    Key(REPLAY, lambda s: s.value and s.megatron.router_replay.mode != "R3",
        f"is True for the replay of experts, but {MEGATRON}.router_replay.mode is {{megatron.router_replay.mode}}",
        "set router_replay.mode=R3, or it to False"),
)

FSDP_KEYS = (
    Key(f"{ACTOR}.strategy", lambda s: s.cpu and s.value == "fsdp",
        "is fsdp (FSDP1), which does not run on a CPU", "use fsdp2"),
    Key(f"{ACTOR}.entropy_from_logits_with_chunking", lambda s: not s.cpu and not s.value,
        "is False, so entropies come from bf16 logits: low ones are rounding, and the detach rules pick at random",
        "set it to True (verl then computes them in fp32, chunk by chunk)"),
    # verl/workers/engine/fsdp/transformer_impl.py, prepare_model_outputs
    Key(f"{MODEL}.use_remove_padding", lambda s: not s.cpu and not s.value,
        "is False: the entropies of padded sequences come from bf16 logits, in chunks or not", "set it to True"),
    Key(f"{FSDP}.offload_policy", lambda s: s.value is True and s.actor.strategy == "fsdp",
        "is True, but FSDP1 ignores it", f"set {ACTOR}.strategy=fsdp2"),
    Key(f"{ACTOR}.ulysses_sequence_parallel_size",
        lambda s: s.topology.context > 1 and not s.model.use_remove_padding,
        "is {topology.context}, but sequences are padded", f"set {MODEL}.use_remove_padding=True, or it to 1"),
    Key(REPLAY, lambda s: s.value, "is True for the replay of experts, which FSDP does not have", "set it to False"),
)
# Allowed, and known to go wrong.
WARNINGS = (
    Key("objective.cells", lambda s: s.updates > 1 and s.cells(_unbounded),
        "floor is 0 with {updates} updates per batch: the term pushes a token on that has already fallen, without end, "
        "and small models collapse so (docs/objectives.md). It concerns {found}",
        "set a floor (0.7), a smaller scale, or objective=htpo"),
    Key("objective.cells", lambda s: s.updates == 1 and s.loss == "htpo" and s.cells(_ppo_at_one),
        "with one update per batch the ratio is 1, where the rules of these rows are PPO's and never act: {found}",
        f"set {ACTOR}.ppo_mini_batch_size below data.train_batch_size, ppo_epochs above 1, or objective=dapo"),
    Key("trainer.resume_mode", lambda s: s.value == "disable",
        "is disable: every start begins with step 1, also one after a crash or a pre-emption",
        "use auto, and another htpo.output_dir for a new run"),
    Key("objective.weights", lambda s: s.weights is not None and s.weights.name == "asymre" and s.loss != "gpg",
        "asymre is for a loss without ratio and clip, and policy_loss.loss_mode is {loss}",
        f"set objective=dapo {LOSS_MODE}=gpg"),
    # vLLM computes with other numbers than the trainer, and nothing makes up for it
    Key(f"{ROLLOUT}.quantization",
        lambda s: s.value is not None and not (s.config.algorithm.get("rollout_correction") or {}).get("rollout_is"),
        "is {value}: the policy that generates is not the one that is trained",
        "set algorithm.rollout_correction.rollout_is=token and rollout_is_threshold=2.0, and watch "
        "training/rollout_probs_diff_mean"),
    # Storage processes carry every batch; TransferQueue's documentation advises two for a node
    Key(QUEUE_UNITS, lambda s: s.trainer.nnodes > 1 and s.value < 2 * s.trainer.nnodes and [2 * s.trainer.nnodes],
        "is {value} for {trainer.nnodes} nodes", "set it to at least {found}"),
)
# fmt: on


def check_general_keys(config: DictConfig) -> Iterator[Problem]:
    """The rows that hold for every engine."""
    return check(config, GENERAL)


def check_engine_keys(config: DictConfig) -> Iterator[Problem]:
    """The rows of the engine that trains."""
    megatron = config.actor_rollout_ref.actor.strategy == "megatron"
    return check(config, ENGINE + (MEGATRON_KEYS if megatron else FSDP_KEYS))


def check_missing(config: DictConfig) -> Iterator[Problem]:
    """Every mandatory field has a value."""
    unset = {field for field in REQUIRED if OmegaConf.select(config, field) is None}
    missing = _missing(OmegaConf.to_container(config, resolve=False))
    for field in sorted(unset.union(missing)):
        if not field.startswith(("critic.", "reward.reward_model.", "distillation.")):
            yield Problem(field, "has no value", f"set {field}=...")


def _missing(value: Any, path: str = "") -> Iterator[str]:
    """Fields that are `???`. `OmegaConf.missing_keys` resolves every other one too, which takes its time."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _missing(below, f"{path}.{key}" if path else str(key))
    elif value == "???":
        yield path


def check_objective(config: DictConfig) -> Iterator[Problem]:
    """The table of objectives is valid, and the token dump asks for steps and prompts that there can be."""
    try:
        objective_config(config)
    except ValueError as error:
        yield Problem("objective", str(error), "choose a preset with objective=NAME, or correct the field")
    try:
        dump_config(config)
    except ValueError as error:
        yield Problem("htpo.dump_tokens", str(error), "correct the field, or leave htpo.dump_tokens.steps=[]")


def check_warnings(config: DictConfig) -> Iterator[Problem]:
    """What a configuration without problems is warned of."""
    return check(config, WARNINGS)
