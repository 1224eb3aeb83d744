# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A supervised training run that faults happen to: started by the same command every time, looked at after each."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import private_mounts
import psutil
from training_process import ENVIRONMENT, SMALL

from recipe.htpo.config import compose
from recipe.htpo.run.checkpoints import what_is_lacking
from recipe.htpo.run.metrics_log import read_steps

# Without progress the run ends itself; a start on a busy machine is the longest time without.
WATCHDOG_S = 150
PATIENCE_S = 1200.0
# From a fault on, how long a run may take to end.
END_S = WATCHDOG_S + 120.0
PROMPTS = 40
UPDATES_PER_STEP = 2

PLATFORM = {
    "fsdp": ("platform=cpu",),
    "megatron": ("platform=cpu_megatron", "model_engine=megatron"),
}

# The processes of each kind, by the beginning of their command lines.
KINDS: Mapping[str, Sequence[str]] = {
    "supervisor": (),
    "trainer": ("ray::TaskRunnerV1", "driver"),
    "worker": ("ray::WorkerDict",),
    "vllm": ("VLLM::EngineCore", "ray::vLLMHttpServer"),
    "ray": (
        *("raylet", "gcs_server", "python agent.py", "python main.py"),
        *("ray::AgentLoopWorker", "ray::TransferQueueController", "ray::SimpleStorageUnit"),
    ),
}


@dataclass
class FaultyRun:
    """One output directory, one command, many starts."""

    output_dir: Path
    logs: Path
    backend: str
    inputs: Sequence[str]
    steps: int
    environment: Mapping[str, str] = field(default_factory=dict)
    starts: int = 0
    process: psutil.Popen | None = None
    log_offset: int = 0
    recorded_at_start: int = 0
    saved_at_start: list[int] = field(default_factory=list)
    resumed: set[int] = field(default_factory=set)
    updates_left_out: int = 0

    @property
    def overrides(self) -> list[str]:
        """The same for every start."""
        return [
            *PLATFORM[self.backend],
            *SMALL,
            *self.inputs,
            f"htpo.output_dir={self.output_dir}",
            f"htpo.watchdog_timeout_s={WATCHDOG_S}",
            f"trainer.total_training_steps={self.steps}",
            f"trainer.rollout_data_dir={self.output_dir}/rollouts",
            "trainer.save_freq=1",
            "trainer.max_actor_ckpt_to_keep=3",
            "trainer.val_before_train=False",
            f"data.train_max_samples={PROMPTS}",
            # Every prompt is trained on, in the order of the data.
            "algorithm.filter_groups.enable=False",
        ]

    def start(self) -> None:
        """The same command as every time."""
        assert self.process is None or self.process.poll() is not None
        log = self.output_dir / "log.txt"
        self.log_offset = log.stat().st_size if log.exists() else 0
        self.recorded_at_start = self.recorded()
        self.saved_at_start = self.saved()
        command = [sys.executable, "-m", "recipe.htpo.run.supervise", "--output-dir", str(self.output_dir), "--"]
        command += [sys.executable, "-m", "recipe.htpo.main_htpo", *self.overrides]

        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"start_{self.starts}.txt").open("wb") as stream:
            self.process = psutil.Popen(
                command,
                cwd=self.logs,
                env={**os.environ, **ENVIRONMENT, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.starts += 1

    def begin_again_from_here(self) -> None:
        """The next moment is one after now, though the run was not started anew."""
        self.recorded_at_start, self.saved_at_start = self.recorded(), self.saved()

    @property
    def updates(self) -> int:
        """How many updates the optimiser makes in the whole run."""
        return UPDATES_PER_STEP * self.steps - self.updates_left_out

    def log(self) -> str:
        """What this start has logged."""
        log = self.output_dir / "log.txt"
        if not log.exists():
            return ""
        with log.open("rb") as stream:
            stream.seek(self.log_offset)
            return stream.read().decode(errors="replace")

    def shown(self) -> str:
        """What this start's supervisor has printed."""
        return (self.logs / f"start_{self.starts - 1}.txt").read_text(errors="replace")

    def recorded(self) -> int:
        return max(read_steps(self.output_dir), default=0)

    def saved(self) -> list[int]:
        directories = (self.output_dir / "checkpoints").glob("global_step_*")
        return sorted(int(path.name.rpartition("_")[2]) for path in directories)

    def whole(self) -> list[int]:
        """The saved steps whose checkpoint lacks nothing."""
        config = compose(self.overrides)
        checkpoints = self.output_dir / "checkpoints"
        return [step for step in self.saved() if not any(what_is_lacking(checkpoints / f"global_step_{step}", config))]

    def resumed_from(self) -> int | None:
        """The step this start resumed from; 0 for a new run, None when it did not come so far."""
        log, marker = self.log(), "setting global step to "
        if marker in log:
            return int(log.rpartition(marker)[2].split()[0])
        return 0 if "Training Progress:" in log else None

    def ended(self) -> bool:
        assert self.process is not None
        return self.process.poll() is not None

    def wait_until(self, happened: Callable[[], bool], patience_s: float = PATIENCE_S, poll_s: float = 0.2) -> bool:
        """Wait for something, the run's end or the end of patience; whether it happened."""
        deadline = time.monotonic() + patience_s
        while not happened():
            if self.ended() or time.monotonic() > deadline:
                return happened()
            time.sleep(poll_s)
        return True

    def wait_for_end(self, patience_s: float = PATIENCE_S) -> int | None:
        """The exit code; None when the run has not ended in time."""
        self.wait_until(self.ended, patience_s)
        assert self.process is not None
        return self.process.poll()

    def wait_for_moment(self, moment: str, chance: random.Random) -> bool:
        """A random moment in the start-up, in a step or in a save; whether the run came to it."""
        if moment == "start":
            happened = self.wait_until(lambda: bool(self.victims("worker")))
            delay = chance.uniform(0, 20)
        elif moment == "step":
            happened = self.wait_until(lambda: self.recorded() > self.recorded_at_start)
            delay = chance.uniform(0, 4)
        else:
            # The workers' files are written within some ten milliseconds.
            happened = self.wait_until(lambda: self.saved() != self.saved_at_start, poll_s=0.005)
            delay = chance.uniform(0, 0.05)
        time.sleep(delay)
        return happened and not self.ended()

    def victims(self, kind: str) -> list[psutil.Process]:
        """The living processes of a kind."""
        assert self.process is not None
        if kind == "supervisor":
            return [] if self.ended() else [psutil.Process(self.process.pid)]
        found = []
        for process in private_mounts.inhabitants():
            name = name_of(process)
            if any(name.startswith(start) for start in KINDS[kind]):
                found.append(process)
        return found

    def end(self) -> list[str]:
        """End every process that is still there; their names."""
        left = private_mounts.inhabitants()
        for process in left:
            process.kill()
        psutil.wait_procs(left, timeout=30)
        return [name_of(process) for process in left]


def name_of(process: psutil.Process) -> str:
    """A short name of a process of a run."""
    try:
        line = process.cmdline()
    except psutil.Error:
        return "(gone)"
    if "recipe.htpo.run.supervise" in line:
        return "supervisor"
    if "recipe.htpo.main_htpo" in line:
        return "driver"
    if line and line[0].startswith(("ray::", "VLLM::")):
        return line[0].split(".")[0]
    return " ".join(Path(part).name for part in line[:3] if not part.startswith("-")) or process.name()
