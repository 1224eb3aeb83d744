# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m recipe.htpo.cpu.profile_run OUTPUT_DIR`: which process of a run spends what, at its start and in a step.

Follows a run that has just been started (`scripts/profile_cpu_run.sh` starts one). CPU seconds come from the kernel,
so they hold on a busy machine as well; functions come from py-spy, which looks at the busiest processes from outside.
"""

import argparse
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from recipe.htpo.run.metrics_log import read_steps

POLL_S = 0.5
SAMPLES_PER_S = 50
# A process below this share of a core is not sampled.
BUSY_CORES = 0.05
FUNCTIONS = 15
# Innermost functions of threads that wait.
WAITING = ("Worker.main_loop", "Condition.wait ", "_worker ", "Poller.poll ", "Thread.run ", "_run_notify_loop ")
# What stands in every stack and says nothing.
SCAFFOLDING = re.compile(
    r"\((ray/|threading|asyncio/|multiprocessing/|concurrent/|contextlib|<|torch/(utils/_context|nn/mod))"
)


@dataclass(frozen=True)
class Snapshot:
    """CPU time of the processes of a run at one moment."""

    time: float
    """Seconds of the wall clock."""
    seconds: dict[tuple[str, int], float]
    """`(name, process id) -> CPU seconds so far`."""


def snapshot(root: psutil.Process) -> Snapshot:
    """User and system time of `root` and all its descendants."""
    seconds = {}
    for process in [root, *root.children(recursive=True)]:
        try:
            times = process.cpu_times()
            seconds[process_name(process.cmdline() or [process.name()]), process.pid] = times.user + times.system
        except psutil.Error:
            continue
    return Snapshot(time.monotonic(), seconds)


def process_name(command: list[str]) -> str:
    """A short name: Ray's and vLLM's own titles, else the module or the program."""
    title = command[0]
    if title.startswith(("ray::", "VLLM::")):
        return title.split(".")[0]
    if "-m" in command[:-1]:
        return command[command.index("-m") + 1]
    scripts = [word for word in command[1:] if word.endswith((".py", ".sh"))]
    return Path(scripts[0] if scripts else title).name


def by_name(seconds: dict[tuple[str, int], float]) -> dict[str, float]:
    """Sums over the processes of one name."""
    total: dict[str, float] = defaultdict(float)
    for (name, _), value in seconds.items():
        total[name] += value
    return total


def cpu_table(first: Snapshot, last: Snapshot, steps: int) -> Table:
    """CPU seconds of every process until the end of the first step (`first`), and per step from there to `last`."""
    start, end = by_name(first.seconds), by_name(last.seconds)
    wall = (last.time - first.time) / steps
    table = Table(title=f"CPU seconds by process; a step takes {wall:.1f} s")
    for name in ("process", "start and first step", "a step", "cores in a step"):
        table.add_column(name, justify="left" if name == "process" else "right")
    per_step = {name: (end[name] - start[name]) / steps for name in end}
    for name, seconds in sorted(per_step.items(), key=lambda item: -item[1]):
        if seconds >= 0.01 or start[name] >= 1:
            table.add_row(name, f"{start[name]:.1f}", f"{seconds:.2f}", f"{seconds / wall:.2f}")
    total = sum(per_step.values())
    table.add_section()
    table.add_row("all", f"{sum(start.values()):.1f}", f"{total:.2f}", f"{total / wall:.2f}")
    return table


def sample(first: Snapshot, last: Snapshot, seconds: int, folder: Path) -> dict[str, Path]:
    """Stacks of the busy processes for some seconds, as `folder/NAME.stacks` (collapsed: speedscope, flame graphs)."""
    folder.mkdir(parents=True, exist_ok=True)
    wall = last.time - first.time
    running, paths = [], {}
    for (name, pid), value in last.seconds.items():
        if (value - first.seconds.get((name, pid), value)) / wall < BUSY_CORES:
            continue
        paths[f"{name} ({pid})"] = path = folder / f"{name.replace('::', '_')}_{pid}.stacks"
        command = ["py-spy", "record", "--nonblocking", "--format", "raw", "--output", str(path)]
        command += ["--rate", str(SAMPLES_PER_S), "--duration", str(seconds), "--pid", str(pid)]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    for process in running:
        process.wait()
    return {name: path for name, path in paths.items() if path.exists()}


def functions_table(name: str, stacks: Path) -> Table:
    """The functions in which a process was seen working most often, callees included."""
    inside: Counter[str] = Counter()
    itself: Counter[str] = Counter()
    total = 0
    for line in stacks.read_text(encoding="utf-8").splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [frame for frame in stack.split(";") if frame]
        if not frames or frames[-1].startswith(WAITING):
            continue
        # Without the line: `name (file:line)`.
        functions = [frame.rpartition(":")[0] + ")" for frame in frames]
        total += int(count)
        itself[functions[-1]] += int(count)
        for function in set(functions):
            inside[function] += int(count)
    table = Table(title=f"{name}: working in {total} samples")
    for column in ("with callees", "itself", "function"):
        table.add_column(column, justify="left" if column == "function" else "right")
    own = [(function, count) for function, count in inside.most_common() if not SCAFFOLDING.search(function)]
    for function, seen in own[:FUNCTIONS]:
        table.add_row(f"{seen / total:.0%}", f"{itself[function] / total:.0%}", function)
    return table


def main() -> int:
    """Follow the run, print the tables, leave the stacks in `OUTPUT_DIR/stacks`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output_dir", type=Path, help="output directory of the run")
    parser.add_argument("--pid", type=int, required=True, help="process id of its command")
    parser.add_argument("--steps", type=int, default=4, help="steps over which CPU time is taken, after the first")
    parser.add_argument("--seconds", type=int, default=20, help="how long stacks are sampled after that")
    args = parser.parse_args()
    console = Console(width=150)
    root = psutil.Process(args.pid)
    taken: dict[int, Snapshot] = {}
    while len(taken) <= args.steps:
        if not root.is_running() or root.status() == psutil.STATUS_ZOMBIE:
            print("the run ended before enough steps were done; give it more of them", file=sys.stderr)
            return 1
        time.sleep(POLL_S)
        done = [step for step, metrics in read_steps(args.output_dir).items() if "timing_s/step" in metrics]
        if done and done[-1] not in taken:
            taken[done[-1]] = snapshot(root)
    first, last = taken[min(taken)], taken[max(taken)]
    console.print(cpu_table(first, last, max(taken) - min(taken)))
    for name, stacks in sample(first, last, args.seconds, args.output_dir / "stacks").items():
        console.print(functions_table(name, stacks))
    return 0


if __name__ == "__main__":
    sys.exit(main())
