# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The profile of a run: CPU time of real processes, and the tables made of it."""

import os
import subprocess
import sys

import psutil
import pytest

from recipe.htpo.cpu import profile_run
from recipe.htpo.cpu.profile_run import Snapshot


def cells(table):
    return [[column._cells[row] for column in table.columns] for row in range(table.row_count)]


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["ray::WorkerDict.actor_rollout_update_actor"], "ray::WorkerDict"),
        (["VLLM::EngineCore"], "VLLM::EngineCore"),
        (
            ["/venv/bin/python", "-u", "-m", "recipe.htpo.run.supervise", "--output-dir", "x"],
            "recipe.htpo.run.supervise",
        ),
        (["/venv/bin/python", "-u", "/site-packages/ray/_private/log_monitor.py"], "log_monitor.py"),
        (["/ray/core/src/ray/gcs/gcs_server", "--log_dir=x"], "gcs_server"),
        (["bash", "-m"], "bash"),
    ],
)
def test_names(command, name):
    assert profile_run.process_name(command) == name


def test_a_snapshot_has_the_cpu_time_of_all_descendants():
    busy = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        taken = profile_run.snapshot(psutil.Process())
        child.kill()
    seconds = {pid: value for (_, pid), value in taken.seconds.items()}
    assert os.getpid() in seconds and 0.2 < seconds[child.pid] < 5


def test_cpu_seconds_per_step_are_summed_over_processes_of_a_name():
    first = Snapshot(100.0, {("a", 1): 10.0, ("a", 2): 1.0, ("b", 3): 5.0})
    # One more `a` since, and `b` did nothing.
    last = Snapshot(108.0, {("a", 1): 12.0, ("a", 2): 1.0, ("a", 4): 2.0, ("b", 3): 5.0})
    table = profile_run.cpu_table(first, last, steps=2)
    assert "a step takes 4.0 s" in table.title
    assert cells(table) == [
        ["a", "11.0", "2.00", "0.50"],
        ["b", "5.0", "0.00", "0.00"],
        ["all", "16.0", "2.00", "0.50"],
    ]


def test_functions_of_waiting_threads_and_scaffolding_are_left_out(tmp_path):
    stacks = tmp_path / "x.stacks"
    stacks.write_text(
        "Thread.run (threading.py:982);outer (verl/a.py:1);inner (verl/b.py:2) 3\n"
        "Thread.run (threading.py:982);outer (verl/a.py:5) 1\n"
        "outer (verl/a.py:1);Condition.wait (threading.py:327) 90\n"
    )
    table = profile_run.functions_table("x", stacks)
    assert "4 samples" in table.title
    assert cells(table) == [["100%", "25%", "outer (verl/a.py)"], ["75%", "75%", "inner (verl/b.py)"]]


def test_only_busy_processes_are_sampled_and_a_sampler_that_failed_is_no_result(tmp_path, monkeypatch):
    asked = []

    class Sampler:
        def __init__(self, command, **_):
            asked.append(command[command.index("--pid") + 1])

        def wait(self):
            return 1

    monkeypatch.setattr(profile_run.subprocess, "Popen", Sampler)
    first = Snapshot(0.0, {("busy", 1): 0.0, ("idle", 2): 0.0})
    last = Snapshot(10.0, {("busy", 1): 5.0, ("idle", 2): 0.1, ("new", 3): 4.0})
    assert profile_run.sample(first, last, 1, tmp_path) == {} and asked == ["1"]
