# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Every function, method and field of verl and TransferQueue that this recipe overrides or calls.

A verl upgrade that changes one of them fails here, by name, and not as a surprise in a worker.
"""

import inspect

import pytest
import transfer_queue
import verl.trainer.main_ppo
import verl.trainer.ppo.core_algos
import verl.trainer.ppo.utils
import verl.trainer.ppo.v1.replay_buffer
import verl.trainer.ppo.v1.trainer_base
import verl.utils.config
import verl.utils.device
import verl.utils.distributed
import verl.utils.metric
import verl.utils.tracking
import verl.workers.engine_workers
import verl.workers.utils.losses
import verl.workers.utils.padding
from verl.plugin.platform import PlatformBase
from verl.trainer.ppo.core_algos import compute_policy_loss_vanilla
from verl.trainer.ppo.v1 import PPOTrainer
from verl.utils.metric import AggregationType, Metric, reduce_metrics
from verl.utils.py_functional import append_to_dict
from verl.workers.engine_workers import ActorRolloutRefWorker, TrainingWorker

from recipe.htpo.seams import responses
from recipe.htpo.seams.algorithms import htpo_advantage
from recipe.htpo.seams.loss import htpo_loss, token_objective_loss
from recipe.htpo.seams.run_life import RunLifeMixin
from recipe.htpo.seams.trainer import HTPOTrainerMixin
from recipe.htpo.seams.validation import ValidationMixin

PARAMETERS = {
    # Overridden by the trainer.
    (PPOTrainer, "__init__"): "self config",
    (PPOTrainer, "init"): "self",
    (PPOTrainer, "fit"): "self agent_loop_manager",
    (PPOTrainer, "on_init_end"): "self",
    (PPOTrainer, "on_step_begin"): "self",
    (PPOTrainer, "on_sample_end"): "self",
    (PPOTrainer, "on_step_end"): "self",
    (PPOTrainer, "on_validate_begin"): "self",
    (PPOTrainer, "on_validate_end"): "self",
    (PPOTrainer, "step"): "self metrics timing_raw",
    (PPOTrainer, "_save_checkpoint"): "self",
    (PPOTrainer, "_add_prompts_to_generate"): "self num_prompts",
    (PPOTrainer, "_balance_batch"): "self batch metrics logging_prefix keep_minibatch",
    (PPOTrainer, "_build_replay_buffer"): "self",
    (PPOTrainer, "_compute_advantage"): "self batch metrics",
    (PPOTrainer, "_update_actor"): "self batch metrics",
    (PPOTrainer, "_maybe_log_val_generations"): "self inputs outputs scores",
    (PPOTrainer, "_val_metrics_update"): (
        "self data_sources sample_uids reward_extra_infos_dict sample_turns expected_acc_counts"
    ),
    # Called by us.
    (ActorRolloutRefWorker, "set_loss_fn"): "self loss_fn",
    (TrainingWorker, "set_loss_fn"): "self loss_fn",
    (transfer_queue, "kv_batch_get"): "keys partition_id select_fields",
    (transfer_queue, "kv_batch_put"): "keys partition_id fields tags data_parser",
    (transfer_queue, "KVBatchMeta"): "keys tags partition_id fields extra_info",
    (verl.trainer.ppo.v1.trainer_base, "register_trainer"): "name",
    (verl.trainer.ppo.core_algos, "register_policy_loss"): "name",
    (verl.trainer.ppo.core_algos, "register_adv_est"): "name_or_enum",
    (verl.trainer.ppo.core_algos, "agg_loss"): (
        "loss_mat loss_mask loss_agg_mode dp_size batch_num_tokens global_batch_size loss_scale_factor"
    ),
    (verl.trainer.ppo.core_algos, "compute_grpo_outcome_advantage"): (
        "token_level_rewards response_mask index epsilon norm_adv_by_std_in_grpo config"
    ),
    (verl.workers.utils.losses, "ppo_loss"): "config model_output data dp_group",
    (verl.workers.utils.padding, "no_padding_2_padding"): "tensor data",
    (verl.utils.config, "omega_conf_to_dataclass"): "config dataclass_type",
    (verl.utils.config, "validate_config"): "config use_reference_policy use_critic",
    (verl.utils.device, "auto_set_device"): "config",
    (verl.trainer.ppo.utils, "need_critic"): "config",
    (verl.trainer.ppo.utils, "need_reference_policy"): "config",
    (verl.trainer.main_ppo, "run_ppo"): "config task_runner_class",
    (verl.utils.metric, "Metric"): "aggregation value",
    (verl.utils.tracking, "FileLogger"): "project_name experiment_name",
    # Wrapped by the CPU patches.
    (verl.utils.distributed, "initialize_global_process_group_ray"): "timeout_second backend",
}


@pytest.mark.parametrize(
    "owner, name", PARAMETERS, ids=lambda value: value if isinstance(value, str) else value.__name__.rpartition(".")[2]
)
def test_parameters(owner, name):
    actual = " ".join(inspect.signature(getattr(owner, name)).parameters)
    assert actual == PARAMETERS[owner, name], f"verl changed {owner.__name__}.{name}"


@pytest.mark.parametrize("name", [name for owner, name in PARAMETERS if owner is PPOTrainer and name != "__init__"])
def test_overrides_take_verls_parameters(name):
    ours, theirs = getattr(HTPOTrainerMixin, name), getattr(PPOTrainer, name)
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)


def test_every_override_exists_in_verl():
    """A method that verl renames would otherwise silently never be called."""
    methods = {**vars(HTPOTrainerMixin), **vars(RunLifeMixin), **vars(ValidationMixin)}.items()
    ours = {name for name, value in methods if inspect.isfunction(value)} - {"_progress", "_begin_refills", "_evicted"}
    assert ours == {name for owner, name in PARAMETERS if owner is PPOTrainer}


def test_the_policy_loss_is_called_as_verls_own():
    """verl passes these by name (verl/workers/utils/losses.py)."""
    theirs = list(inspect.signature(compute_policy_loss_vanilla).parameters)
    assert list(inspect.signature(token_objective_loss).parameters)[: len(theirs)] == theirs
    # The worker binds the first two and calls with the others by name.
    assert list(inspect.signature(htpo_loss).parameters) == [
        *("config", "objective", "model_output", "data", "dp_group"),
        # Ours, with a default.
        "dump_to",
    ]


def test_the_estimator_is_called_with_these_names():
    source = inspect.getsource(verl.trainer.ppo.v1.utils)
    assert {"token_level_rewards", "response_mask", "index", "config"} <= set(
        inspect.signature(htpo_advantage).parameters
    )
    assert "adv_estimator" in source


def test_hooks_are_called_in_the_order_that_the_trainer_relies_on():
    """The loss is installed after the workers exist and before the first step."""
    source = inspect.getsource(PPOTrainer.init)
    assert source.index("self._setup()") < source.index("self.on_init_end()")


@pytest.mark.parametrize(
    "function, fields",
    [
        (PPOTrainer._compute_old_log_prob, ('"entropy"', '"old_log_probs"', '"bypass_mode"')),
        (PPOTrainer._compute_advantage, ('"uid"', '"response_mask"', '"rollout_is_weights"', '"advantages"')),
        (PPOTrainer._update_actor, ('rename_dict(output["metrics"], "actor/")', "reduce_metrics(output)")),
        (PPOTrainer._compute_metrics, ('tag.get("is_padding", False)',)),
        (verl.workers.utils.losses.ppo_loss, ('data["dp_size"]', 'data["batch_num_tokens"]', "policy_loss_fn(")),
        (PPOTrainer._build_replay_buffer, ('self.trainer_mode == "sync"', "refill_fn=self._add_prompts_to_generate")),
        (
            verl.trainer.ppo.v1.replay_buffer.ReplayBuffer,
            ("{uid}_{session_id}_{index}", "time.sleep(self.poll_interval)"),
        ),
        (verl.utils.tracking.FileLogger, ("VERL_FILE_LOGGER_PATH", '"step": step, "data": data', '"wb"')),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_fields_that_verl_reads_and_writes(function, fields):
    source = inspect.getsource(function)
    for field in fields:
        assert field in source, f"{function.__qualname__} no longer has {field}"


def test_padding_rows_are_marked_and_keyed_as_assumed():
    from verl.trainer.ppo import padding_utils

    source = inspect.getsource(padding_utils)
    assert "is_padding" in source
    assert 'f"{pad_uid}_{local_idx}_0"' in source


def test_the_reward_info_stands_in_extra_fields():
    import verl.experimental.agent_loop.agent_loop as agent_loop

    assert "reward_extra_info" in inspect.getsource(agent_loop)
    assert '"reward_extra_info"' in inspect.getsource(verl.trainer.ppo.v1.replay_buffer)


def test_metrics_are_summed_over_micro_batches_and_averaged_over_ranks_and_mini_batches():
    """`metrics_from_sums` needs the same factor on all sums, so these may be means, but not of unlike parts."""
    ranks = [Metric(AggregationType.SUM) for _ in range(2)]
    ranks[0].extend([1.0, 2.0])
    ranks[1].extend([3.0, 5.0])
    assert Metric.aggregate_dp(ranks) == (1 + 3) / 2 + (2 + 5) / 2
    step = {}
    for value in (2.0, 4.0):
        append_to_dict(step, {"actor/htpo_sums/tokens/1": value})
    assert reduce_metrics(step) == {"actor/htpo_sums/tokens/1": 3.0}


def test_platform_has_what_we_implement():
    from recipe.htpo.cpu.platform import PlatformCPU

    missing = PlatformBase.__abstractmethods__ - set(dir(PlatformCPU))
    assert not missing and not PlatformCPU.__abstractmethods__
    for name, value in vars(PlatformBase).items():
        if inspect.isfunction(value) and name in vars(PlatformCPU) and not name.startswith("__"):
            theirs = list(inspect.signature(value).parameters)
            assert list(inspect.signature(getattr(PlatformCPU, name)).parameters) == theirs, name
    # Nothing of ours that verl does not know.
    ours = {name for name in vars(PlatformCPU) if not name.startswith("_")}
    assert ours <= set(dir(PlatformBase))


def test_the_replay_buffer_reports_dropped_groups_under_these_names():
    replay_buffer = verl.trainer.ppo.v1.replay_buffer
    assert responses.UNIFORM_GROUPS == replay_buffer.DAPO_FILTERED_REWARD_COUNTS_KEY
    assert "filter_groups/discarded_surplus_samples" in inspect.getsource(replay_buffer.ReplayBuffer.sample)
    assert responses.SURPLUS_GROUPS == replay_buffer.ReplayBuffer._metrics_prefix("train") + (
        "/filter_groups/discarded_surplus_samples"
    )


def test_the_training_step_hands_those_metrics_to_the_advantage():
    source = inspect.getsource(PPOTrainer._step_once)
    assert "metrics.update(off_policy_metrics)" in source
    assert "self._compute_advantage(batch, metrics=metrics)" in source


def test_rollout_correction_writes_another_mask_with_the_advantage():
    """The reason for reading the mask before; if this fails, look again where groups are decided."""
    assert 'fields.append("response_mask")' in inspect.getsource(PPOTrainer._compute_advantage)
