# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What the configuration composes to: the published settings, every preset, every platform, both engines."""

import pytest
from omegaconf import OmegaConf
from published_settings import PUBLISHED
from verl.utils.config import omega_conf_to_dataclass

from recipe.htpo.config import compose, objective_config
from recipe.htpo.objective import load_preset, preset_names


@pytest.fixture(scope="module")
def accelerator():
    return compose()


@pytest.fixture(scope="module")
def cpu():
    return compose(["platform=cpu", "actor_rollout_ref.model.path=unused"])


@pytest.mark.parametrize("field", PUBLISHED)
def test_published_settings(accelerator, field):
    value = OmegaConf.select(accelerator, field, throw_on_missing=True)
    assert value == PUBLISHED[field] and type(value) in (type(PUBLISHED[field]), int)


@pytest.mark.parametrize("field", ["actor_rollout_ref.model.path", "data.train_files", "data.val_files"])
def test_verls_default_model_and_data_are_not_inherited(accelerator, field):
    """verl's are its authors' paths; `???` here would not replace them."""
    assert OmegaConf.select(accelerator, field) is None


def test_the_cpu_keeps_the_method(cpu):
    """Sizes, precision and learning rate differ; clip, advantage, filter and table do not."""
    same = [field for field in PUBLISHED if field.startswith(("objective.", "algorithm.", "reward.reward_manager"))]
    same += [field for field in PUBLISHED if "clip" in field or field.endswith(("loss_agg_mode", "loss_mode"))]
    assert {field: OmegaConf.select(cpu, field) for field in same} == {field: PUBLISHED[field] for field in same}
    # HTPO's ratio rules need at least two updates per step.
    assert cpu.data.train_batch_size // cpu.actor_rollout_ref.actor.ppo_mini_batch_size >= 2
    actor = cpu.actor_rollout_ref.actor
    assert cpu.trainer.device == "cpu" and actor.strategy == "fsdp2"
    assert {cpu.actor_rollout_ref.rollout.dtype, actor.fsdp_config.dtype} == {"float32"}
    assert set(actor.fsdp_config.mixed_precision.values()) == {"fp32"}
    assert cpu.reward.reward_kwargs.max_resp_len == cpu.data.max_response_length


def test_the_actor_instantiates_as_verl_does_it(cpu):
    actor = omega_conf_to_dataclass(cpu.actor_rollout_ref.actor)
    assert type(actor).__name__ == "FSDPActorConfig" and actor.policy_loss.loss_mode == "htpo"


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_composes_to_what_it_says(preset):
    config = compose([f"objective={preset}"])
    assert objective_config(config) == load_preset(preset)
    assert config.trainer.experiment_name == preset and config.htpo.output_dir == f"outputs/htpo/{preset}"


def test_an_objective_that_needs_the_current_entropy_gets_it():
    actor = compose(["objective=htpo_released"]).actor_rollout_ref.actor
    assert actor.calculate_entropy and actor.entropy_checkpointing and actor.fsdp_config.entropy_checkpointing
    megatron = compose(["objective.entropy_source=current", "model_engine=megatron"]).actor_rollout_ref.actor
    assert megatron.calculate_entropy
    assert not compose([]).actor_rollout_ref.actor.calculate_entropy


def test_one_cell_from_the_command_line():
    objective = objective_config(compose(["objective.cells.hard_wrong_high.rule=ppo"]))
    assert objective == load_preset("htpo", {"cells": {"hard_wrong_high": {"rule": "ppo"}}})


def test_megatron():
    config = compose(["model_engine=megatron"])
    actor = config.actor_rollout_ref.actor
    assert actor.strategy == "megatron" and actor.policy_loss.loss_mode == "htpo"
    assert actor.optim.lr == 1e-6 and actor.optim.lr_warmup_steps == 10


def test_composes_from_any_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert compose(["platform=cpu"]).trainer.device == "cpu"
    assert not list(tmp_path.iterdir())
