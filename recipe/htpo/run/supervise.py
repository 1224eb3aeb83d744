# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m recipe.htpo.run.supervise --output-dir DIR -- COMMAND...`: a training command with progress and an end.

The command's output goes to `DIR/log.txt`; one line per step is shown. However the command ends, by itself, by
Ctrl-C or by a signal, none of its processes, shared-memory files and temporary files stay behind. Where it failed,
Ray's logs are kept in `DIR/ray_logs`. One that is refused leaves what an earlier one kept.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import psutil

from recipe.htpo import problem
from recipe.htpo.run import processes, stop, temporary
from recipe.htpo.run.failure import show_failure
from recipe.htpo.run.metrics_log import read_steps, validation_accuracy
from recipe.htpo.run.record import METRICS_DIR, write_atomic

POLL_S = 0.5
LOOK_EVERY_S = 5.0
INTERRUPT_GRACE_S = 20.0
STATS_FILE = "process_stats.json"
RAY_LOGS = "ray_logs"
# Bytes of `/ray/session_2026-11-24_13-16-40_573179_1234567/sockets/plasma_store`, and some more.
RAY_SOCKET = 72


class _Interrupted(BaseException):
    """A signal asked for the end; wherever it comes, nothing but `supervise` catches it."""


def main() -> int:
    """Run the command; its exit code, or 128 + signal number when a signal ended it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output-dir", type=Path, required=True, help="output directory of the run")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="after --, the training command")
    args = parser.parse_args()
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        parser.error("no command given after --")
    args.output_dir.mkdir(parents=True, exist_ok=True)
    return supervise(command, args.output_dir)


def supervise(command: list[str], output_dir: Path) -> int:
    """Run `command` with its output in `output_dir/log.txt`, print progress, clean up."""
    processes.adopt_orphans()
    received: list[int] = []

    def interrupt(number: int, _: FrameType | None) -> None:
        received.append(number)
        raise _Interrupted

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    log = output_dir / "log.txt"
    print(f"log: {log}\nstarting the processes; the first step is shown in one to two minutes", flush=True)
    tree = processes.ProcessTree()
    progress = _Progress(output_dir)
    with log.open("ab") as stream, temporary.directory(output_dir) as own:
        offset = stream.tell()
        child = psutil.Popen(
            command,
            env=_environment(own),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=processes.die_with_parent,
        )
        try:
            _follow(child, tree, progress)
        except _Interrupted:
            print("\ninterrupted: ending the run; the same command resumes from the last checkpoint", flush=True)
            _ignore_signals()
            # While its processes still hold their shared memory.
            tree.look()
            child.send_signal(signal.SIGINT)
            processes.wait(INTERRUPT_GRACE_S, child)
        finally:
            _ignore_signals()
            tree.end()
        refused = child.returncode == problem.EXIT_CODE
        if child.returncode not in (0, stop.EXIT_CODE) and not refused and not received:
            _keep_ray_logs(own, output_dir)
    progress.update()
    if not refused:
        # A full disk may be why the run ended.
        with contextlib.suppress(OSError):
            write_atomic(output_dir / STATS_FILE, json.dumps({"peak_pss_bytes": tree.peak_bytes}).encode() + b"\n")
    code = 128 + received[0] if received else int(child.returncode)
    if code == stop.EXIT_CODE:
        print("the run has saved and stopped, as it was asked to; the same command continues it", flush=True)
    elif code and not received:
        show_failure(log, offset, code)
    return code


def _environment(own: Path) -> dict[str, str]:
    """The run's environment: a temporary directory of its own, for Ray too where that can be, and to meet in.

    Ray finds a cluster that `ray start` started on this machine by a file in its usual temporary directory, and the
    paths of its sockets have 107 bytes at most.
    """
    environment = {**os.environ, "TMPDIR": str(own)}
    # Ray gives up after 30 s, which a busy machine may need.
    environment.setdefault("RAY_raylet_start_wait_time_s", "240")
    usual = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    joins = os.environ.get("RAY_ADDRESS") or Path(usual, "ray", "ray_current_cluster").exists()
    if not joins:
        # verl chooses a free port half a minute before the workers meet there; until then anyone may take it.
        environment.setdefault("DIST_INIT_METHOD", f"file://{own}/rendezvous")
    if joins or len(str(own)) + RAY_SOCKET > 107:
        environment["RAY_TMPDIR"] = usual
    else:
        environment.pop("RAY_TMPDIR", None)
    return environment


def _keep_ray_logs(own: Path, output_dir: Path) -> None:
    """What Ray's daemons and workers logged stays with the run; of the last failed start only."""
    kept = output_dir / RAY_LOGS
    shutil.rmtree(kept, ignore_errors=True)
    # A full disk may be why the run failed.
    with contextlib.suppress(OSError):
        for logs in own.glob("ray/session_*_*/logs"):
            shutil.copytree(logs, kept / logs.parent.name)


def _follow(child: psutil.Popen, tree: processes.ProcessTree, progress: "_Progress") -> None:
    next_look = 0.0
    while child.poll() is None:
        time.sleep(POLL_S)
        progress.update()
        if time.monotonic() >= next_look:
            tree.look()
            next_look = time.monotonic() + LOOK_EVERY_S


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


class _Progress:
    """One line for every step that the metrics files gain."""

    def __init__(self, output_dir: Path) -> None:
        self._output_dir = output_dir
        self._seen = set(read_steps(output_dir))
        self._sizes: dict[str, int] = {}
        self._start = time.monotonic()

    def update(self) -> None:
        """Show what is new. An error here never ends the run."""
        try:
            self._show()
        except Exception as error:
            with contextlib.suppress(OSError):
                print(f"the progress cannot be shown: {error!r}", file=sys.stderr, flush=True)

    def _show(self) -> None:
        sizes = {path.name: path.stat().st_size for path in (self._output_dir / METRICS_DIR).glob("*.jsonl")}
        if sizes == self._sizes:
            return
        self._sizes = sizes
        for step, metrics in read_steps(self._output_dir).items():
            if step not in self._seen:
                self._seen.add(step)
                print(f"[{time.monotonic() - self._start:5.0f} s] {_line(step, metrics)}", flush=True)


def _line(step: int, metrics: dict[str, float]) -> str:
    # Of all generated prompts, where dynamic sampling dropped some.
    rate = "htpo/pass_rate_generated" if "htpo/pass_rate_generated" in metrics else "htpo/pass_rate"
    shown = {
        rate: "pass rate {:.3f}",
        "htpo/hard_prompt_frac": "hard prompts {:.2f}",
        "actor/entropy": "entropy {:.3f}",
        "timing_s/step": "{:.1f} s",
    }
    parts = [f"step {step:4d}", *(text.format(metrics[name]) for name, text in shown.items() if name in metrics)]
    parts += [f"held-out {source} accuracy {value:.3f}" for source, value in validation_accuracy(metrics).items()]
    return "  ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
