# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The same run with Megatron: two processes share the model (tensor and sequence parallel), two vLLM servers.

Two steps through the README's script, then the same command with one step more.
"""

from pathlib import Path

import pytest
from test_cpu_run import Run, run_script

from recipe.htpo.run.metrics_log import validation_accuracy

pytestmark = pytest.mark.slow

MEGATRON = (
    "backend=megatron",
    "trainer.n_gpus_per_node=2",
    "actor_rollout_ref.actor.megatron.tensor_model_parallel_size=2",
    "actor_rollout_ref.actor.optim.lr_warmup_steps=1",
    "trainer.val_before_train=False",
)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Run:
    output_dir = tmp_path_factory.mktemp("megatron") / "run"
    run = run_script(output_dir, cache_dir, *MEGATRON, "trainer.total_training_steps=2")
    assert run.code == 0, run.output
    assert list(run.steps) == [1, 2]
    return run


@pytest.fixture(scope="module")
def second(first: Run, cache_dir: Path) -> Run:
    run = run_script(first.output_dir, cache_dir, *MEGATRON, "trainer.total_training_steps=3")
    assert run.code == 0, run.output
    return run


def test_rollout_agrees_with_trainer(first: Run, second: Run) -> None:
    """The weights that two processes hold half of each reach both servers whole, also after a resume."""
    for step in (1, 2, 3):
        assert second.steps[step]["training/rollout_probs_diff_max"] < 1e-4
        assert second.steps[step]["actor/grad_norm"] > 0


def test_the_objective_and_its_metrics_are_those_of_fsdp(second: Run) -> None:
    """Both ranks run the loss on the same tokens; sums are counted once."""
    for step in (1, 2, 3):
        metrics = second.steps[step]
        assert sum(metrics[f"htpo/frac_group{group}"] for group in range(1, 9)) == pytest.approx(1.0, abs=1e-9)
        assert metrics["htpo/prompts"] == 8
        assert metrics["htpo/mixed_prompt_frac"] == 1.0


def test_resume_continues_at_the_next_step(second: Run) -> None:
    assert sorted(path.name for path in (second.output_dir / "metrics").iterdir()) == ["0000.jsonl", "0001.jsonl"]
    checkpoints = sorted(path.name for path in (second.output_dir / "checkpoints").glob("global_step_*"))
    assert checkpoints == ["global_step_2", "global_step_3"]
    assert "arithmetic" in validation_accuracy(second.steps[3])
