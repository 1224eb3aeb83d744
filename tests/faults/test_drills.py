# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A cluster's accidents, on two Ray nodes of this machine, met by `scripts/run_htpo_qwen.sh` as on any cluster.

A wrong setting is final. A node dies in a step: the script starts the run again, which waits for another node and goes
on from the last checkpoint. SIGUSR1 stops it, the same command continues, and a deadline stops that one. No process
and no shared memory is left.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import ray
from ray_cluster import start_cluster
from training_process import ENVIRONMENT, SMALL

from recipe.htpo.preflight import EXIT_CODE
from recipe.htpo.run import processes, stop
from recipe.htpo.run.checkpoints import TRACKER
from recipe.htpo.run.metrics_log import read_steps

pytestmark = pytest.mark.faults

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "run_htpo_qwen.sh"
NODE = {"num_cpus": 10, "num_gpus": 1, "object_store_memory": 300_000_000}
TIMEOUT_S = 1500.0
# More than a start takes here.
MARGIN_S = 900
SHARED_MEMORY = Path("/dev/shm")
# Half a minute until Ray calls a node dead, and the watchdog's look; the time-out without progress is 900 s.
END_WITHIN_S = 200.0


class Drill:
    """Two Ray nodes, and the training command on them. A run ends by itself: the cluster is not its own."""

    def __init__(self, place: Path, inputs: list[str]) -> None:
        self.output_dir = place / "run"
        self._place = place
        self._inputs = inputs
        self._runs: list[subprocess.Popen[bytes]] = []
        self._began = time.monotonic()
        self.cluster = start_cluster(**NODE)
        self.second = self.cluster.add_node(**NODE)

    def start(self, *overrides: str, **environment: object) -> subprocess.Popen[bytes]:
        """The same command each time but for what a test says."""
        knobs = {"PYTHON": sys.executable, "BACKEND": "fsdp", "OUTPUT_DIR": self.output_dir, "NNODES": 2}
        knobs |= {"RAY_ADDRESS": self.cluster.address, "RETRIES": 2, "RETRY_WAIT_S": 1, **environment}
        with self.log.open("ab") as stream:
            run = subprocess.Popen(
                ["bash", str(SCRIPT), "platform=cpu", "layout=none", *SMALL, *self._inputs]
                + ["trainer.total_training_steps=40", "trainer.save_freq=2", "trainer.val_before_train=False"]
                + [f"htpo.deadline_margin_s={MARGIN_S}", *overrides],
                cwd=self._place,
                env={**os.environ, **{name: str(value) for name, value in knobs.items()}},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        self._runs.append(run)
        return run

    @property
    def log(self) -> Path:
        return self._place / "log.txt"

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def saved(self) -> int:
        """The step of the last checkpoint."""
        return int((self.output_dir / "checkpoints" / TRACKER).read_text())

    def say(self, what: str) -> None:
        print(f"[{time.monotonic() - self._began:5.0f} s] {what}", flush=True)

    def wait_for_step(self, run: subprocess.Popen[bytes], step: int) -> None:
        """Until `step` is in the metrics: the next one then begins."""
        self._wait(run, lambda: step in read_steps(self.output_dir))

    def wait_for_line(self, run: subprocess.Popen[bytes], words: str) -> None:
        self._wait(run, lambda: words in self.output)

    def _wait(self, run: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            assert run.poll() is None and time.monotonic() < deadline, self.output[-6000:]
            time.sleep(0.2)

    def close(self) -> None:
        for run in self._runs:
            if run.poll() is None:
                run.terminate()
                run.wait(timeout=120)
        ray.shutdown()
        self.cluster.shutdown()


@pytest.fixture
def drill(fault_inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drill]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    # What a lost node's processes leave becomes ours to see.
    processes.adopt_orphans()
    files = set(SHARED_MEMORY.iterdir())
    made = Drill(tmp_path, fault_inputs)
    try:
        yield made
    finally:
        made.close()
    deadline = time.monotonic() + 60
    while (left := alive_children()) and time.monotonic() < deadline:
        time.sleep(0.5)
    for process in left:
        process.kill()
    assert not left
    # Those of others, of whom somebody has them open, do not count.
    assert not {path for path in set(SHARED_MEMORY.iterdir()) - files if not is_mapped(path)}


def alive_children() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if child.is_running() and child.status() != psutil.STATUS_ZOMBIE
    ]


def is_mapped(path: Path) -> bool:
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if str(path) in Path(f"/proc/{pid}/maps").read_text():
                return True
    return False


def test_a_wrong_setting_a_lost_node_a_request_and_a_deadline(drill: Drill) -> None:
    run = drill.start("actor_rollout_ref.nccl_timeout=1200")
    assert run.wait(TIMEOUT_S) == EXIT_CODE, drill.output[-6000:]
    assert "actor_rollout_ref.nccl_timeout: is 1200" in drill.output and "starting it again" not in drill.output
    drill.say("a wrong setting is refused, once")

    run = drill.start()
    drill.wait_for_step(run, 3)
    drill.say("step 3 is done; the second node is killed")
    drill.cluster.remove_node(drill.second, allow_graceful=False)
    killed = time.monotonic()
    # Ray chose the trainer's node: the lost one, and the command sees its end, or the other, and the watchdog does.
    drill.wait_for_line(run, "starting it again, 1 of 2")
    assert time.monotonic() - killed < END_WITHIN_S
    before = drill.saved()
    drill.say(f"the run has ended and is started again; step {before} is saved; a node comes")
    assert before >= 2
    drill.cluster.add_node(**NODE)
    drill.wait_for_step(run, before + 2)
    drill.say(f"step {before + 2} is done, SIGUSR1")
    run.send_signal(signal.SIGUSR1)
    assert run.wait(TIMEOUT_S) == stop.EXIT_CODE, drill.output[-6000:]
    assert "starting it again, 2 of 2" not in drill.output
    stopped = int((drill.output_dir / "stopped").read_text())
    drill.say(f"stopped, step {stopped} is saved")
    # Saved at the end of its step, whatever `save_freq` says.
    assert stopped == drill.saved() > before and max(read_steps(drill.output_dir)) == stopped

    # No step ends within ten seconds of the start.
    deadline = time.time() + MARGIN_S + 10
    run = drill.start(HTPO_DEADLINE=deadline)
    assert run.wait(TIMEOUT_S) == stop.EXIT_CODE and time.time() < deadline, drill.output[-6000:]
    drill.say(f"stopped before the deadline, step {drill.saved()} is saved")
    assert drill.saved() == max(read_steps(drill.output_dir)) == stopped + 1
    assert "s are left until the deadline" in drill.output
