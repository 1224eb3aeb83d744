# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Megatron, two processes that share the model (tensor and sequence parallel), under `htpo_colocate_async`.

Generation runs ahead of training on two vLLM servers; THR, scored in the engine, weighs advantages.
Three steps through the README's script, and three more by the same command.
"""

import json
from itertools import islice
from pathlib import Path

import pytest
from data_order import data_order
from training_process import SCRIPT, TrainingProcess

from recipe.htpo.run.metrics_log import Steps, read_steps, validation_accuracy

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("megatron_async")]

BEFORE, STEPS, BATCH = 3, 6, 8
TIMEOUT_S = 1200.0
MEGATRON = (
    "backend=megatron",
    "objective=thr_htpo",
    "trainer.n_gpus_per_node=2",
    "actor_rollout_ref.actor.megatron.tensor_model_parallel_size=2",
    "actor_rollout_ref.actor.optim.lr_warmup_steps=1",
    # The schedule's end does not move when the run is continued to further steps.
    f"actor_rollout_ref.actor.optim.lr_decay_steps={STEPS}",
)


@pytest.fixture(scope="module")
def overrides(demo_inputs: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    place = tmp_path_factory.mktemp("async")
    return [
        *demo_inputs,
        f"htpo.output_dir={place}/run",
        f"trainer.rollout_data_dir={place}/rollouts",
        "trainer.v1.trainer_mode=htpo_colocate_async",
        "trainer.v1.colocate_async.num_warmup_batches=1",
        "trainer.save_freq=3",
        "trainer.val_before_train=False",
        "trainer.test_freq=100",
        # Every prompt is trained on once.
        "algorithm.filter_groups.enable=False",
        # Tokens that an older policy generated are weighted by the ratio of the probabilities.
        "algorithm.rollout_correction.rollout_is=token",
    ]


@pytest.fixture(scope="module")
def output_dir(overrides: list[str], script_environment: dict[str, str]) -> Path:
    output_dir = Path(overrides[3].partition("=")[2])
    for steps in (BEFORE, STEPS):
        log = output_dir.parent / f"to_{steps}.log"
        more = (*MEGATRON, f"trainer.total_training_steps={steps}")
        process = TrainingProcess(log, output_dir.parent, *overrides, *more, command=SCRIPT, **script_environment)
        assert process.wait(TIMEOUT_S) == 0, process.output[-8000:]
    return output_dir


@pytest.fixture(scope="module")
def steps(output_dir: Path) -> Steps:
    return read_steps(output_dir)


def test_the_objective_and_its_metrics_are_those_of_fsdp(steps: Steps) -> None:
    """Both ranks run the loss on the same tokens, sums are counted once; groups are complete, entropy is there."""
    assert list(steps) == list(range(1, STEPS + 1))
    for metrics in steps.values():
        assert metrics["htpo/prompts"] == BATCH and metrics["htpo/short_prompts"] == 0
        assert metrics["htpo/rows_dropped_empty_or_not_final"] == 0
        assert sum(metrics[f"htpo/frac_group{group}"] for group in range(1, 9)) == pytest.approx(1.0, abs=1e-9)
        assert 0.15 < sum(metrics[f"htpo/frac_group{group}"] for group in (2, 4, 6, 8)) < 0.5
        assert metrics["actor/entropy"] > 0 and metrics["actor/grad_norm"] > 0
    assert "arithmetic" in validation_accuracy(steps[STEPS])


def test_the_advantages_are_weighed(steps: Steps) -> None:
    """Scores of the policy as the trainer's engine has it, its vocabulary in two halves."""
    for metrics in steps.values():
        assert 0 < metrics["thr/kept_frac"] <= 1 and 0 <= metrics["thr/pos_frac"] <= 1
        assert 0 <= metrics["thr/tau_negative_rate"] <= 1 and metrics["thr/time"] > 0
        assert 0 < metrics["weights/changed_frac"] <= 1


def test_rollout_agrees_with_trainer(steps: Steps) -> None:
    """The weights that two processes hold half of each reach both servers whole.

    A batch that was generated after the last update is of the policy that is trained; how many of the later ones are
    depends on timing. Those begun before it differ by an update, a single token by any amount: the mean is bounded.
    """
    fresh = [step for step in steps if steps[step]["training/off_policy/trajectory_staleness_worst/max"] == 0]
    assert 1 in fresh
    assert all(steps[step]["training/rollout_probs_diff_max"] < 1e-4 for step in fresh)
    assert all(metrics["training/rollout_probs_diff_mean"] < 0.05 for metrics in steps.values())


def test_generation_is_ahead(steps: Steps) -> None:
    """A batch waits while another is trained on."""
    assert max(metrics["training/off_policy/trajectory_staleness_worst/max"] for metrics in steps.values()) >= 1


def test_resume_takes_the_queue_along(output_dir: Path) -> None:
    log = (output_dir / "log.txt").read_text(encoding="utf-8", errors="replace")
    assert "global_step_3, setting global step to 3" in log
    assert "Restored" in log and "training prompt groups from TransferQueue" in log
    assert (output_dir / "checkpoints" / "global_step_6" / "transfer_queue").is_dir()
    assert sorted(path.name for path in (output_dir / "metrics").iterdir()) == ["0000.jsonl", "0001.jsonl"]


def test_every_prompt_is_trained_on_once(output_dir: Path, overrides: list[str]) -> None:
    """Also those that were being generated when the checkpoint was written: none is lost, none comes twice."""
    rollouts = output_dir.parent / "rollouts"
    trained = [
        {json.loads(line)["input"] for line in (rollouts / f"{step}.jsonl").read_text().splitlines()}
        for step in range(1, STEPS + 1)
    ]
    assert [len(prompts) for prompts in trained] == [BATCH] * STEPS
    assert len(set.union(*trained)) == BATCH * STEPS
    # One batch of warm-up is ahead; what the resume adds is ahead of that.
    ahead = list(islice(data_order(overrides, STEPS + 2), STEPS + 2))
    assert set.union(*trained) <= set.union(*ahead)
