# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The separate asynchronous trainer is refused where it cannot run."""

import pytest

from recipe.htpo.config import compose
from recipe.htpo.preflight import config_problems
from recipe.htpo.preflight.separate_async import check_separate_async

MODE = "trainer.v1.trainer_mode=htpo_separate_async"
INPUTS = ["actor_rollout_ref.model.path=unused", "data.train_files=unused", "data.val_files=unused"]
SOUND = [
    *INPUTS,
    MODE,
    "data.train_batch_size=128",
    "actor_rollout_ref.actor.ppo_mini_batch_size=32",
    "trainer.v1.separate_async.parameter_sync_step=4",
    "actor_rollout_ref.rollout.nnodes=2",
    "actor_rollout_ref.rollout.n_gpus_per_node=8",
    "actor_rollout_ref.rollout.checkpoint_engine.backend=nccl",
]


def test_sound():
    assert list(check_separate_async(compose(SOUND))) == []


def test_it_is_among_the_checks():
    (problem,) = [p for p in config_problems(compose([*INPUTS, "platform=cpu", MODE])) if "htpo_sep" in p.message]
    assert problem.field == "trainer.v1.trainer_mode"
    assert "accelerator" in problem.message and "htpo_colocate_async" in problem.remedy


@pytest.mark.parametrize(
    "override, field",
    [
        ("data.train_batch_size=64", "data.train_batch_size"),
        ("trainer.v1.separate_async.parameter_sync_step=3", "data.train_batch_size"),
        ("actor_rollout_ref.rollout.nnodes=0", "actor_rollout_ref.rollout.nnodes"),
        ("actor_rollout_ref.rollout.n_gpus_per_node=0", "actor_rollout_ref.rollout.n_gpus_per_node"),
        (
            "actor_rollout_ref.rollout.checkpoint_engine.backend=naive",
            "actor_rollout_ref.rollout.checkpoint_engine.backend",
        ),
    ],
)
def test_what_verl_asserts(override, field):
    (problem,) = check_separate_async(compose([*SOUND, override]))
    assert problem.field == field and problem.remedy


def test_other_trainers_are_not_concerned():
    assert list(check_separate_async(compose([*INPUTS, "platform=cpu"]))) == []
