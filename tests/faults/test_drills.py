# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A cluster's accidents, on two Ray nodes of this machine: a node dies in a step; the run is asked to stop.

The same command is started each time and goes on from the last checkpoint.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster
from training_process import ENVIRONMENT, SMALL

from recipe.htpo.run import stop
from recipe.htpo.run.checkpoints import TRACKER
from recipe.htpo.run.metrics_log import read_steps

pytestmark = pytest.mark.faults

NODE = {"num_cpus": 10, "num_gpus": 1, "object_store_memory": 300_000_000}
TIMEOUT_S = 1500.0


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    yield made
    ray.shutdown()
    made.shutdown()


class Run:
    """The training command, started on the cluster. It ends by itself: the cluster is not its own."""

    def __init__(self, log: Path, cluster: Cluster, overrides: list[str]) -> None:
        self._log = log
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "recipe.htpo.main_htpo", "platform=cpu", *SMALL, *overrides],
                cwd=log.parent,
                env={**os.environ, "RAY_ADDRESS": cluster.address},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait(self) -> int:
        return self.process.wait(timeout=TIMEOUT_S)

    def wait_for_step(self, output_dir: Path, step: int) -> None:
        """Until `step` is in the metrics: the next one then begins."""
        deadline = time.monotonic() + TIMEOUT_S
        while step not in read_steps(output_dir):
            assert self.process.poll() is None and time.monotonic() < deadline, self.output[-6000:]
            time.sleep(0.2)


def test_a_node_is_lost_and_a_run_is_asked_to_stop(cluster: Cluster, fault_inputs: list[str], tmp_path: Path) -> None:
    output_dir = tmp_path / "run"
    overrides = [
        *fault_inputs,
        f"htpo.output_dir={output_dir}",
        "trainer.nnodes=2",
        "trainer.total_training_steps=40",
        "trainer.save_freq=2",
        "trainer.val_before_train=False",
        "htpo.watchdog_timeout_s=300",
    ]

    def start(number: int) -> Run:
        return Run(tmp_path / f"start_{number}.log", cluster, overrides)

    def saved() -> int:
        return int((output_dir / "checkpoints" / TRACKER).read_text())

    lost = cluster.add_node(**NODE)
    run = start(1)
    run.wait_for_step(output_dir, 3)
    cluster.remove_node(lost, allow_graceful=False)
    code = run.wait()
    # Neither success, nor a wrong setting, nor a request: what the scripts start again.
    assert code not in (0, 2, stop.EXIT_CODE) and saved() >= 2
    before = saved()

    cluster.add_node(**NODE)
    run = start(2)
    run.wait_for_step(output_dir, before + 1)
    run.process.send_signal(signal.SIGUSR1)
    assert run.wait() == stop.EXIT_CODE, run.output[-6000:]
    assert "asked to stop" in run.output and "the same command continues" in run.output
    stopped = int((output_dir / "stopped").read_text())
    # Saved at the end of its step, whatever `save_freq` says.
    assert stopped == saved() > before and max(read_steps(output_dir)) == stopped
