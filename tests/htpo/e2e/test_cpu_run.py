# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The real stack, end to end: Ray, verl's V1 sync trainer, FSDP2, the vLLM server with weight sync, TransferQueue.

The README's script, killed with SIGKILL in the save of its second step, and the same command again. More steps, more
kills, and kills in a step and in the start-up: `kill_resume.py`.
"""

import json
import os
import time
from pathlib import Path

import kill_resume
import psutil
import pytest
from training_process import SCRIPT, TrainingProcess

from recipe.htpo.inspect.dump import read_dump
from recipe.htpo.inspect.totals import compare
from recipe.htpo.run import processes
from recipe.htpo.run.metrics_log import Steps, read_steps, validation_accuracy

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("cpu_run")]

STEPS = 4


@pytest.fixture(scope="module")
def shared_memory_before() -> set[str]:
    return set(os.listdir("/dev/shm"))


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory,
    script_environment: dict[str, str],
    demo_inputs: list[str],
    shared_memory_before: set[str],
) -> kill_resume.Story:
    story = kill_resume.Story(
        tmp_path_factory.mktemp("runs") / "run",
        demo_inputs,
        steps=STEPS,
        command=SCRIPT,
        environment=script_environment,
        further=["trainer.test_freq=100", "htpo.dump_tokens.steps=[1,4]", "htpo.dump_tokens.prompts=null"],
    )
    kill_resume.run(story, ["save"], seed=1)
    return story


@pytest.fixture(scope="module")
def steps(story: kill_resume.Story) -> Steps:
    return read_steps(story.output_dir)


@pytest.fixture(scope="module")
def output(story: kill_resume.Story) -> str:
    """What the script printed in its last start."""
    return (story.starts / "start_1.log").read_text(encoding="utf-8", errors="replace")


def test_a_kill_leaves_no_trace(story: kill_resume.Story) -> None:
    assert list(kill_resume.findings(story)) == [], story.kills
    # From the checkpoint of step 2 if the kill left it whole, else from the beginning: findings() has compared.
    assert story.kills[0].resumed_from in (0, 2)
    assert sorted(path.name for path in (story.output_dir / "metrics").iterdir()) == ["0000.jsonl", "0001.jsonl"]


def test_every_step_is_recorded(steps: Steps) -> None:
    assert list(steps) == [0, 1, 2, 3, 4]
    assert 0 <= validation_accuracy(steps[0])["arithmetic"] <= 1
    assert "arithmetic" in validation_accuracy(steps[STEPS])


def test_objective_ran_in_the_worker(story: kill_resume.Story, steps: Steps) -> None:
    """Only the HTPO loss on the worker makes gradient shares of the groups; plain PPO would not have them."""
    assert "HTPO objective: {'preset': 'htpo'" in story.log(1)
    for step in range(1, STEPS + 1):
        for quantity in ("frac", "grad_share", "loss_share"):
            shares = [steps[step][f"htpo/{quantity}_group{group}"] for group in range(1, 9)]
            assert sum(shares) == pytest.approx(1.0, abs=1e-9), quantity


def test_groups_are_present(steps: Steps) -> None:
    """Every batch has right and wrong answers, low and high entropy tokens."""
    for step in range(1, STEPS + 1):
        share = {group: steps[step][f"htpo/frac_group{group}"] for group in range(1, 9)}
        assert sum(share[g] for g in (1, 2, 5, 6)) > 0 and sum(share[g] for g in (3, 4, 7, 8)) > 0
        # At least one token and about a fifth of every response is high-entropy.
        assert 0.15 < sum(share[g] for g in (2, 4, 6, 8)) < 0.5
        assert steps[step]["htpo/prompts"] == 8
        assert steps[step]["htpo/treated_frac"] > 0


def test_dumped_tokens_add_up_to_the_logged_metrics(story: kill_resume.Story, steps: Steps) -> None:
    """Every token of a step, written by the worker, as the loss had it; step 4 is that of the second start."""
    first, last = read_dump(story.output_dir)
    for dump in (first, last):
        assert dump.is_whole and len(dump.table) == dump.facts["responses"] == 8 * 4
        comparison = compare(dump, steps[dump.step])
        assert comparison.compared > 60 and comparison.different == ()
    assert (first.step, last.step) == (1, STEPS)
    # One response, and its prompt, as they can be read.
    row = last.table.slice(0, 1).to_pylist()[0]
    assert set("".join(row["token_text"])) & set("0123456789") and set(row["prompt"]) <= set("0123456789+-")
    assert row["source"] == "arithmetic"


def test_rollout_agrees_with_trainer(steps: Steps) -> None:
    """vLLM's log-probabilities against the trainer's, before and after weight synchronisations and a resume."""
    for step in range(1, STEPS + 1):
        assert steps[step]["training/rollout_probs_diff_max"] < 1e-4
        assert steps[step]["actor/grad_norm"] > 0


def test_report_and_picture(story: kill_resume.Story, output: str) -> None:
    assert "held-out arithmetic" in output and "peak memory" in output
    assert "95 % interval" in output and "verdict: " in output
    assert (story.output_dir / "curves.png").read_bytes().startswith(b"\x89PNG")
    peak = json.loads((story.output_dir / "process_stats.json").read_text())["peak_pss_bytes"]
    assert 2**30 < peak < 12 * 2**30


def test_other_configuration_is_refused(story: kill_resume.Story) -> None:
    other = [*story.overrides, "actor_rollout_ref.actor.optim.lr=1"]
    log = story.starts / "other.log"
    process = TrainingProcess(log, story.output_dir.parent, *other)
    assert process.wait(600) == 2
    assert "actor_rollout_ref.actor.optim.lr" in process.output and "htpo.output_dir" in process.output


def test_nothing_stays_behind(story: kill_resume.Story, shared_memory_before: set[str]) -> None:
    commands = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in commands if str(story.output_dir) in command]

    def left() -> set[str]:
        """Segments that nobody has mapped; those of a run beside this one are mapped as soon as they are made."""
        mapped = {Path(path).name for pid in psutil.pids() for path in processes.mapped_shared_files(pid)}
        found = set(os.listdir("/dev/shm")) - shared_memory_before - mapped
        return {name for name in found if name.startswith(("psm_", "plasma", "ray"))}

    names = left()
    deadline = time.monotonic() + 30
    while names and time.monotonic() < deadline:
        time.sleep(1.0)
        names &= left()
    assert not names
