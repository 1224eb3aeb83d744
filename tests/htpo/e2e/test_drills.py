# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A cluster's accidents, on two Ray nodes of this machine: a node dies in a step; the run is asked to stop.

The same command is started each time and goes on from the last checkpoint.
"""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster
from training_process import ENVIRONMENT, TrainingProcess

from recipe.htpo.run import stop
from recipe.htpo.run.checkpoints import TRACKER
from recipe.htpo.run.metrics_log import read_steps

pytestmark = pytest.mark.slow

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


def wait_for_step(run: TrainingProcess, output_dir: Path, step: int) -> None:
    """Until `step` is in the metrics: the next one then begins."""
    deadline = time.monotonic() + TIMEOUT_S
    while step not in read_steps(output_dir):
        assert run.process.poll() is None and time.monotonic() < deadline, run.output[-6000:]
        time.sleep(0.2)


def test_a_node_is_lost_and_a_run_is_asked_to_stop(cluster: Cluster, demo_inputs: list[str], tmp_path: Path) -> None:
    output_dir = tmp_path / "run"
    overrides = [
        *demo_inputs,
        f"htpo.output_dir={output_dir}",
        "trainer.nnodes=2",
        "trainer.total_training_steps=40",
        "trainer.save_freq=2",
        "trainer.val_before_train=False",
        "htpo.watchdog_timeout_s=300",
    ]

    def start(number: int) -> TrainingProcess:
        log = tmp_path / f"start_{number}.log"
        return TrainingProcess(log, tmp_path, *overrides, RAY_ADDRESS=cluster.address)

    def saved() -> int:
        return int((output_dir / "checkpoints" / TRACKER).read_text())

    lost = cluster.add_node(**NODE)
    run = start(1)
    wait_for_step(run, output_dir, 3)
    cluster.remove_node(lost, allow_graceful=False)
    code = run.wait(TIMEOUT_S)
    # Neither success, nor a wrong setting, nor a request: what the scripts start again.
    assert code not in (0, 2, stop.EXIT_CODE) and saved() >= 2
    before = saved()

    cluster.add_node(**NODE)
    run = start(2)
    wait_for_step(run, output_dir, before + 1)
    run.process.send_signal(signal.SIGUSR1)
    assert run.wait(TIMEOUT_S) == stop.EXIT_CODE, run.output[-6000:]
    assert "asked to stop" in run.output and "the same command continues" in run.output
    stopped = int((output_dir / "stopped").read_text())
    # Saved at the end of its step, whatever `save_freq` says.
    assert stopped == saved() > before and max(read_steps(output_dir)) == stopped

    # A deadline so near that no second step fits.
    run = TrainingProcess(
        tmp_path / "start_3.log", tmp_path, *overrides, RAY_ADDRESS=cluster.address, HTPO_DEADLINE=str(time.time() + 60)
    )
    assert run.wait(TIMEOUT_S) == stop.EXIT_CODE, run.output[-6000:]
    assert saved() == stopped + 1 and "until the deadline" in run.output
