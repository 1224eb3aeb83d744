# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Settings that verl would ignore, misread, or that contradict the objective."""

from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from recipe.htpo.config import dump_config, objective_config
from recipe.htpo.objective import CELL_NAMES
from recipe.htpo.preflight.problem import Problem

# Fields for which verl's default would be somebody else's model or data.
REQUIRED = ("actor_rollout_ref.model.path", "data.train_files", "data.val_files")

TRAINER_MODES = ("htpo_sync", "htpo_colocate_async", "htpo_separate_async")

# Keys that verl 0.9.1 still composes and its V1 entry point never reads (verl/trainer/config/legacy_reward_impl.yaml).
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


# Rules whose gradient by log-probability does not end where a token's probability has fallen.
UNBOUNDED_RULES = ("penalize", "keep_gradient")


def check_missing(config: DictConfig) -> Iterator[Problem]:
    """Every mandatory field has a value."""
    unset = {field for field in REQUIRED if OmegaConf.select(config, field) is None}
    for field in sorted(unset | OmegaConf.missing_keys(config)):
        if not field.startswith(("critic.", "reward.reward_model.", "distillation.")):
            yield Problem(field, "has no value", f"set {field}=...")


def check_objective(config: DictConfig) -> Iterator[Problem]:
    """The table of objectives is valid and is the one that will be trained with."""
    try:
        objective_config(config)
    except ValueError as error:
        yield Problem("objective", str(error), "choose a preset with objective=NAME, or correct the field")
        return
    loss_mode = config.actor_rollout_ref.actor.policy_loss.loss_mode
    if loss_mode != "htpo":
        yield Problem(
            "actor_rollout_ref.actor.policy_loss.loss_mode",
            f"is {loss_mode}, so the table of objectives would have no effect",
            "use htpo; objective=dapo is verl's vanilla loss, bit for bit",
        )
    correction = config.algorithm.get("rollout_correction")
    if correction is not None and correction.get("bypass_mode"):
        yield Problem(
            "algorithm.rollout_correction.bypass_mode",
            "skips the old policy's forward pass, so there is no entropy to group tokens by",
            "set it to False",
        )


def check_token_dump(config: DictConfig) -> Iterator[Problem]:
    """The token dump asks for steps and prompts that there can be."""
    try:
        dump_config(config)
    except ValueError as error:
        yield Problem("htpo.dump_tokens", str(error), "correct the field, or leave htpo.dump_tokens.steps=[]")


def check_distillation(config: DictConfig) -> Iterator[Problem]:
    """verl adds its distillation loss inside the loss that this recipe replaces."""
    if OmegaConf.select(config, "distillation.enabled"):
        yield Problem(
            "distillation.enabled",
            "is True, but the HTPO loss replaces the one in which verl distils, so nothing would be distilled",
            "set it to False",
        )


def check_reward_model(config: DictConfig) -> Iterator[Problem]:
    """`acc` is there when groups are filtered and tokens are grouped.

    A colocated reward model is asked after the batch was taken, and its `acc` becomes a field of the batch beside
    the reward's extra info (verl/trainer/ppo/v1/trainer_base.py, _compute_reward_colocate).
    """
    reward_model = config.reward.reward_model
    if reward_model.enable and not reward_model.enable_resource_pool:
        yield Problem(
            "reward.reward_model.enable_resource_pool",
            "is False: a reward model on the training GPUs scores a batch after it was taken, and its `acc` does not "
            "stand where dynamic sampling and the token groups read it",
            "set it to True with reward.reward_model.nnodes and n_gpus_per_node, so that the reward function calls the "
            "model and returns `acc`, or set reward.reward_model.enable=False",
        )


def check_generation_budget(config: DictConfig) -> Iterator[Problem]:
    """Dynamic sampling may replace at least a prompt: what is generated ahead counts."""
    filter_groups = config.algorithm.filter_groups
    limit = filter_groups.max_num_gen_batches
    asynchronous = config.trainer.v1.get(str(config.trainer.v1.trainer_mode).removeprefix("htpo_"), {})
    ahead = asynchronous.get("num_warmup_batches") or 0
    if filter_groups.enable and limit > 0 and ahead and limit <= ahead + 1:
        yield Problem(
            "algorithm.filter_groups.max_num_gen_batches",
            f"is {limit}, but the {ahead} batches that are generated ahead (num_warmup_batches) and the step's own "
            "count already, so no prompt could be replaced",
            f"set it to {int(ahead) + 2} or more, or 0 for no limit",
        )


def check_entropy_precision(config: DictConfig) -> Iterator[Problem]:
    """Token entropies that group tokens are computed in fp32."""
    actor = config.actor_rollout_ref.actor
    if config.trainer.device == "cpu" or actor.strategy not in ("fsdp", "fsdp2"):
        return
    if not actor.entropy_from_logits_with_chunking:
        yield Problem(
            "actor_rollout_ref.actor.entropy_from_logits_with_chunking",
            "is False, so entropies come from bf16 logits: low ones are rounding, and the detach rules pick at random",
            "set it to True (verl then computes them in fp32, chunk by chunk)",
        )


def objective_warnings(config: DictConfig) -> Iterator[str]:
    """What is allowed and known to go wrong; `config` has no problems."""
    objective = objective_config(config)
    actor = config.actor_rollout_ref.actor
    updates = config.data.train_batch_size // actor.ppo_mini_batch_size * actor.ppo_epochs
    unbounded = [
        name
        for group, name in enumerate(CELL_NAMES, start=1)
        if (cell := objective.cells[group]).rule in UNBOUNDED_RULES
        and cell.region in ("all", "below", "outside")
        and cell.floor == 0
    ]
    if unbounded and updates > 1:
        yield (
            f"objective.cells.{unbounded[0]}.floor is 0 with {updates} updates per batch: the term pushes a token on "
            f"that has already fallen, without end, and small models collapse so (docs/objectives.md). It concerns "
            f"{', '.join(unbounded)}. Set a floor (0.7), a smaller scale, or objective=htpo"
        )


def queue_warnings(config: DictConfig) -> Iterator[str]:
    """Fewer storage processes of TransferQueue than its documentation advises: they carry every batch."""
    units, nodes = config.transfer_queue.backend.SimpleStorage.num_data_storage_units, config.trainer.nnodes
    if nodes > 1 and units < 2 * nodes:
        yield (
            f"transfer_queue.backend.SimpleStorage.num_data_storage_units is {units} for {nodes} nodes; at least "
            f"{2 * nodes} are advised"
        )


def check_trainer_mode(config: DictConfig) -> Iterator[Problem]:
    """The trainer is one that installs the objective."""
    mode = config.trainer.v1.trainer_mode
    if mode not in TRAINER_MODES:
        yield Problem(
            "trainer.v1.trainer_mode",
            f"is {mode}, which does not install the HTPO loss",
            f"use one of {', '.join(TRAINER_MODES)}",
        )
    if not config.trainer.use_v1:
        yield Problem("trainer.use_v1", "is False; HTPO runs on verl's V1 trainer", "set it to True")


def check_legacy_reward_keys(config: DictConfig) -> Iterator[Problem]:
    """No reward setting stands where verl no longer reads it."""
    for old, new in LEGACY_KEYS.items():
        value = OmegaConf.select(config, old)
        if isinstance(value, DictConfig):
            value = next((leaf for leaf in _leaves(value) if leaf is not None), None)
        if value is not None:
            yield Problem(old, "is set, but verl 0.9.1 silently ignores this key", f"use {new}")


def _leaves(node: DictConfig) -> Iterator[object]:
    for value in node.values():
        if isinstance(value, DictConfig):
            yield from _leaves(value)
        else:
            yield value
