# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""`htpo_colocate_async` end to end: generation runs ahead of training, over a checkpoint and a resume."""

import json
from itertools import islice
from pathlib import Path

import pytest
from data_order import data_order
from training_process import TrainingProcess

from recipe.htpo.run.metrics_log import read_steps

pytestmark = pytest.mark.slow

BEFORE, STEPS, BATCH = 3, 6, 8
TIMEOUT_S = 1200.0


@pytest.fixture(scope="module")
def output_dir(demo_inputs: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three steps, and three more by the same command."""
    place = tmp_path_factory.mktemp("async")
    overrides = [
        *demo_inputs,
        f"htpo.output_dir={place}/run",
        f"trainer.rollout_data_dir={place}/rollouts",
        "trainer.v1.trainer_mode=htpo_colocate_async",
        "trainer.v1.colocate_async.num_warmup_batches=1",
        "trainer.save_freq=3",
        "trainer.val_before_train=False",
        # Every prompt is trained on once.
        "algorithm.filter_groups.enable=False",
        # Tokens that an older policy generated are weighted by the ratio of the probabilities.
        "algorithm.rollout_correction.rollout_is=token",
    ]
    for steps in (BEFORE, STEPS):
        process = TrainingProcess(place / f"to_{steps}.log", place, *overrides, f"trainer.total_training_steps={steps}")
        assert process.wait(TIMEOUT_S) == 0, process.output[-8000:]
    (place / "overrides.json").write_text(json.dumps(overrides))
    return place


def test_steps(output_dir: Path) -> None:
    """Groups are complete, and every response has its group: the old policy's entropy is there."""
    steps = read_steps(output_dir / "run")
    assert list(steps) == list(range(1, STEPS + 1))
    for metrics in steps.values():
        assert metrics["htpo/prompts"] == BATCH and metrics["htpo/short_prompts"] == 0
        assert metrics["htpo/rows_dropped_empty_or_not_final"] == 0
        assert sum(metrics[f"htpo/frac_group{group}"] for group in range(1, 9)) == pytest.approx(1.0, abs=1e-9)
        assert 0.15 < sum(metrics[f"htpo/frac_group{group}"] for group in (2, 4, 6, 8)) < 0.5
        assert metrics["actor/entropy"] > 0
    # Generation really is ahead: a batch waits while another is trained on.
    assert max(metrics["training/off_policy/trajectory_staleness_worst/max"] for metrics in steps.values()) >= 1


def test_resume_takes_the_queue_along(output_dir: Path) -> None:
    log = (output_dir / f"to_{STEPS}.log").read_text(errors="replace")
    assert "global_step_3, setting global step to 3" in log
    assert "Restored" in log and "training prompt groups from TransferQueue" in log
    assert (output_dir / "run" / "checkpoints" / "global_step_6" / "transfer_queue").is_dir()


def test_every_prompt_is_trained_on_once(output_dir: Path) -> None:
    """Also those that were being generated when the checkpoint was written: none is lost, none comes twice."""
    trained = [
        {json.loads(line)["input"] for line in (output_dir / "rollouts" / f"{step}.jsonl").read_text().splitlines()}
        for step in range(1, STEPS + 1)
    ]
    assert [len(prompts) for prompts in trained] == [BATCH] * STEPS
    assert len(set.union(*trained)) == BATCH * STEPS
    # One batch of warm-up is ahead; what the resume adds is ahead of that.
    ahead = list(islice(data_order(json.loads((output_dir / "overrides.json").read_text()), STEPS + 2), STEPS + 2))
    assert set.union(*trained) <= set.union(*ahead)
