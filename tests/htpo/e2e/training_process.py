# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A training run as a process of its own, to be waited for or killed with everything that it started."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from recipe.htpo.run import processes

# Two updates a step, several micro-batches; seconds a step.
SMALL = (
    "data.train_batch_size=8",
    "actor_rollout_ref.rollout.n=4",
    "actor_rollout_ref.actor.ppo_mini_batch_size=4",
    "actor_rollout_ref.actor.ppo_max_token_len_per_gpu=512",
    "actor_rollout_ref.rollout.val_kwargs.n=1",
    "trainer.test_freq=-1",
)
MAIN = (sys.executable, "-m", "recipe.htpo.main_htpo", "platform=cpu")
SCRIPT = ("bash", str(Path(__file__).resolve().parents[3] / "scripts" / "run_htpo_cpu.sh"))
# Ray gives its workers nice 15: on a busy machine they would starve. Its raylet has 30 s to start.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0", "RAY_raylet_start_wait_time_s": "240"}


class TrainingProcess:
    """`python -m recipe.htpo.main_htpo platform=cpu ...`, or another command, with its output in a file."""

    def __init__(
        self, log: Path, cwd: Path, *overrides: str, command: Sequence[str] = MAIN, **environment: str
    ) -> None:
        # Ray's daemons become our children when their parent is killed, so that they can be found and ended too.
        processes.adopt_orphans()
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        self._tree = processes.ProcessTree()
        self._processes: list[psutil.Process] = []
        with log.open("wb") as stream:
            self.process = psutil.Popen(
                [*command, *SMALL, *overrides],
                cwd=cwd,
                env={**os.environ, **ENVIRONMENT, **environment},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=processes.die_with_parent,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait(self, timeout_s: float) -> int:
        """The exit code; everything that the run left is ended."""
        if not processes.wait(timeout_s, self.process):
            self.kill()
            raise TimeoutError(f"no end within {timeout_s:.0f} s; the end of the log:\n{self.output[-4000:]}")
        self._tree.end()
        return int(self.process.returncode)

    def look_around(self) -> None:
        """Find the run's processes, so that `kill` need not search for them first."""
        self._processes = psutil.Process().children(recursive=True)

    def kill(self) -> None:
        """SIGKILL to the run, its workers, its servers and its Ray daemons, as when the machine goes."""
        _send(self._processes, signal.SIGSTOP)
        self.look_around()
        _send(self._processes, signal.SIGSTOP)
        # What they have mapped is known only while they are there, and is removed afterwards.
        self._tree.look()
        while self._processes:
            _send(self._processes, signal.SIGKILL)
            psutil.wait_procs(self._processes, timeout=10)
            self.look_around()
        self._tree.end()


def _send(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
