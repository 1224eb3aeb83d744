# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""An advantage transform on the real stack: scores from verl's engine, TransferQueue, two steps."""

import pytest
from training_process import TrainingProcess

from recipe.htpo.run.metrics_log import read_steps

pytestmark = pytest.mark.slow

METRICS = ("thr/kept_frac", "thr/pos_frac", "thr/tau_negative_rate", "thr/time", "weights/changed_frac")


def test_a_run_trains_with_the_transform(tmp_path, demo_inputs):
    run = TrainingProcess(
        tmp_path / "log.txt",
        tmp_path,
        *demo_inputs,
        "objective=thr_explore",
        f"htpo.output_dir={tmp_path / 'run'}",
        "trainer.total_training_steps=2",
        "trainer.save_freq=100",
        "trainer.val_before_train=False",
    )
    assert run.wait(1200) == 0, run.output[-4000:]
    steps = read_steps(tmp_path / "run")
    assert sorted(steps) == [1, 2]
    for step in steps.values():
        assert all(name in step for name in METRICS)
        assert 0 < step["weights/changed_frac"] <= 1 and step["actor/grad_norm"] > 0
        # The policy that was scored is the one that sampled.
        assert step["training/rollout_probs_diff_max"] < 1e-5
