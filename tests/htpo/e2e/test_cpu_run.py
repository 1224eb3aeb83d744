# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The real stack, end to end: Ray, verl's V1 sync trainer, FSDP2, the vLLM server with weight sync, TransferQueue.

One run of two steps through the README's script, then the same command again with one step more. Not covered: more
than one node, accelerators, Megatron.
"""

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from recipe.htpo.run.metrics_log import Steps, read_steps, validation_accuracy

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
# Small micro-batches: group metrics must be right when they are summed over several.
OVERRIDES = (
    "data.train_batch_size=8",
    "actor_rollout_ref.actor.ppo_mini_batch_size=4",
    "actor_rollout_ref.actor.ppo_max_token_len_per_gpu=512",
    "actor_rollout_ref.rollout.val_kwargs.n=1",
    "trainer.save_freq=2",
    "trainer.test_freq=100",
)


@dataclass
class Run:
    output_dir: Path
    code: int
    output: str

    @property
    def steps(self) -> Steps:
        return read_steps(self.output_dir)

    @property
    def log(self) -> str:
        return (self.output_dir / "log.txt").read_text(encoding="utf-8", errors="replace")


def run_script(output_dir: Path, cache_dir: Path, *overrides: str) -> Run:
    environment = {
        **os.environ,
        "OUTPUT_DIR": str(output_dir),
        "CACHE_DIR": str(cache_dir),
        "TRAIN_ROWS": "400",
        "TEST_ROWS": "16",
    }
    command = ["bash", str(ROOT / "scripts" / "run_htpo_cpu.sh"), *OVERRIDES, *overrides]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    return Run(output_dir, result.returncode, result.stdout + result.stderr)


@pytest.fixture(scope="module")
def output_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "run"


@pytest.fixture(scope="module")
def shared_memory_before() -> set[str]:
    return set(os.listdir("/dev/shm"))


@pytest.fixture(scope="module")
def first(output_dir: Path, cache_dir: Path, shared_memory_before: set[str]) -> Run:
    run = run_script(output_dir, cache_dir, "trainer.total_training_steps=2")
    assert run.code == 0, run.output
    # Kept as it was: the second run adds to the same directory.
    (output_dir / "first_steps.json").write_text(json.dumps(run.steps))
    return run


@pytest.fixture(scope="module")
def second(first: Run, cache_dir: Path) -> Run:
    run = run_script(first.output_dir, cache_dir, "trainer.total_training_steps=3", "trainer.val_before_train=False")
    assert run.code == 0, run.output
    return run


@pytest.fixture(scope="module")
def first_steps(first: Run) -> Steps:
    return {
        int(step): values for step, values in json.loads((first.output_dir / "first_steps.json").read_text()).items()
    }


def test_every_step_is_recorded(first_steps: Steps) -> None:
    assert list(first_steps) == [0, 1, 2]
    assert 0 <= validation_accuracy(first_steps[0])["arithmetic"] <= 1
    assert "arithmetic" in validation_accuracy(first_steps[2])


def test_objective_ran_in_the_worker(first: Run, first_steps: Steps) -> None:
    """Only the HTPO loss on the worker makes gradient shares of the groups; plain PPO would not have them."""
    assert "HTPO objective: {'preset': 'htpo'" in first.log
    for step in (1, 2):
        for quantity in ("frac", "grad_share", "loss_share"):
            shares = [first_steps[step][f"htpo/{quantity}_group{group}"] for group in range(1, 9)]
            assert sum(shares) == pytest.approx(1.0, abs=1e-9), quantity


def test_groups_are_present(first_steps: Steps) -> None:
    """Dynamic sampling keeps mixed prompts only: every batch has right and wrong, low and high entropy tokens."""
    for step in (1, 2):
        share = {group: first_steps[step][f"htpo/frac_group{group}"] for group in range(1, 9)}
        assert sum(share[g] for g in (1, 2, 5, 6)) > 0 and sum(share[g] for g in (3, 4, 7, 8)) > 0
        # At least one token and about a fifth of every response is high-entropy.
        assert 0.15 < sum(share[g] for g in (2, 4, 6, 8)) < 0.5
        assert first_steps[step]["htpo/mixed_prompt_frac"] == 1.0
        assert first_steps[step]["htpo/prompts"] == 8


def test_rollout_agrees_with_trainer(first_steps: Steps, second: Run) -> None:
    """vLLM's log-probabilities against the trainer's, after zero, one and two weight synchronisations."""
    for metrics in (first_steps[1], first_steps[2], second.steps[3]):
        assert metrics["training/rollout_probs_diff_max"] < 1e-4
    assert first_steps[1]["actor/grad_norm"] > 0


def test_report_and_picture(first: Run, first_steps: Steps) -> None:
    assert "held-out arithmetic" in first.output and "peak memory" in first.output
    assert "95 % interval" in first.output and "verdict: " in first.output
    assert first_steps[1]["htpo/treated_frac"] > 0
    assert (first.output_dir / "curves.png").read_bytes().startswith(b"\x89PNG")
    peak = json.loads((first.output_dir / "process_stats.json").read_text())["peak_pss_bytes"]
    assert 2**30 < peak < 12 * 2**30


def test_resume_continues_at_the_next_step(second: Run) -> None:
    assert (second.output_dir / "checkpoints" / "global_step_2").is_dir()
    assert sorted(path.name for path in (second.output_dir / "metrics").iterdir()) == ["0000.jsonl", "0001.jsonl"]
    resumed = (second.output_dir / "metrics" / "0001.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in resumed] == [3]
    assert re.search(r"Resuming from .*global_step_2, setting global step to 2", second.log)
    assert (second.output_dir / "checkpoints" / "latest_checkpointed_iteration.txt").read_text().strip() == "3"


def test_other_configuration_is_refused(second: Run, cache_dir: Path) -> None:
    run = run_script(second.output_dir, cache_dir, "actor_rollout_ref.actor.optim.lr=1")
    assert run.code != 0
    assert "actor_rollout_ref.actor.optim.lr" in run.output and "htpo.output_dir" in run.output


def test_nothing_stays_behind(second: Run, shared_memory_before: set[str]) -> None:
    commands = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in commands if str(second.output_dir) in command]
    left = set(os.listdir("/dev/shm")) - shared_memory_before
    assert not [name for name in left if name.startswith(("psm_", "plasma", "ray"))]
