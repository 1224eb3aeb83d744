# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""When the Slurm job starts a run again, queues itself again, and ends; Slurm, the nodes and the run are stand-ins.

`test_cluster_scripts.py` runs it on real Ray nodes.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from script_support import ROOT, wait_until

SLURM_JOB = ROOT / "scripts" / "ray_cluster" / "slurm.sbatch"
NODE = """#!/usr/bin/env bash
if [[ "$1" == wait ]]; then sleep "$JOINING_S"; echo "$2 of $2 nodes joined"; else exec sleep 600; fi
"""
STOPS = 'until [[ -e "$OUTPUT_DIR/stop" ]]; do sleep 0.1; done\n'


def exists(group: int) -> bool:
    """Whether a process group has processes."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def job(tmp_path):
    """Starts the job in a clone whose nodes and training are stand-ins."""
    started = []

    def start(training: str, **knobs: object) -> subprocess.Popen:
        clone = tmp_path / "clone"
        (clone / "scripts" / "ray_cluster").mkdir(parents=True)
        (clone / "scripts" / "ray_cluster" / "node.sh").write_text(NODE)
        (clone / "run.sh").write_text(f'echo "$RETRIES" >>"$OUTPUT_DIR/starts"\n{training}\n')
        environment = os.environ | {
            "PATH": f"{ROOT / 'tests' / 'scripts' / 'slurm'}:{os.environ['PATH']}",
            "REQUEUED": str(tmp_path / "requeued"),
            "SLURM_CPUS_ON_NODE": "2",
            "SLURM_JOB_ID": "77",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_JOB_NODELIST": "node[1-2]",
            "HTPO_ROOT": str(clone),
            "RUN": "run.sh",
            "OUTPUT_DIR": str(tmp_path / "run"),
            "JOINING_S": "0",
        }
        environment |= {name: str(value) for name, value in knobs.items()}
        process = subprocess.Popen(["bash", str(SLURM_JOB)], env=environment, start_new_session=True)
        started.append(process)
        return process

    yield start
    for process in started:
        # The job ends all that it started.
        assert process.poll() is not None and wait_until(lambda group=process.pid: not exists(group), 10)


def starts(tmp_path: Path) -> list[str]:
    path = tmp_path / "run" / "starts"
    return path.read_text().split() if path.exists() else []


@pytest.mark.parametrize(
    "code, retries, count, requeued",
    [(7, 2, 3, False), (7, 0, 1, False), (2, 3, 1, False), (0, 3, 1, False), (75, 3, 1, True)],
    ids=["a crash", "a crash, no retries", "a wrong setting", "the end", "saved before the time limit"],
)
def test_how_a_run_ends_decides(job, tmp_path, code, retries, count, requeued):
    assert job(f"exit {code}", RETRIES=retries).wait(timeout=60) == code
    # The job retries, not the script in it.
    assert starts(tmp_path) == ["0"] * count
    assert (tmp_path / "requeued").exists() is requeued


@pytest.mark.parametrize(
    "training, grace_s, code, requeued",
    [
        (f"{STOPS}exit 75", 60, 75, True),
        ("exec sleep 600", 1, 143, True),
        # It came to its end, or broke, in the meantime.
        (f"{STOPS}exit 0", 60, 0, False),
        (f"{STOPS}exit 9", 60, 9, True),
        (f"{STOPS}exit 2", 60, 2, False),
    ],
    ids=["it saves", "it does not", "it is done", "it crashes", "it is refused"],
)
def test_when_the_time_is_up(job, tmp_path, training, grace_s, code, requeued):
    process = job(training, STOP_GRACE_S=grace_s)
    assert wait_until(lambda: starts(tmp_path))
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == code
    assert starts(tmp_path) == ["0"] and (tmp_path / "requeued").exists() is requeued


def test_the_time_is_up_before_the_nodes_are_there(job, tmp_path):
    process = job("exit 0", JOINING_S=2)
    time.sleep(1)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == 75
    assert starts(tmp_path) == [] and (tmp_path / "requeued").exists()


def test_a_cancelled_job_is_not_started_again(job, tmp_path):
    process = job("exec sleep 600")
    assert wait_until(lambda: starts(tmp_path))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert starts(tmp_path) == ["0"] and not (tmp_path / "requeued").exists()
