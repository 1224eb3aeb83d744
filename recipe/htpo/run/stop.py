# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A run that is asked to stop saves at the end of its step and ends with exit code 75: the same command continues it.

It is asked by a file `stop` in its output directory (a job script's, an operator's, or this process's own on SIGUSR1),
or by a deadline before which the next step would not end: `HTPO_DEADLINE`, or Slurm's `SLURM_JOB_END_TIME`, in seconds
since the epoch.
"""

import os
import signal
import time
from pathlib import Path

import psutil

EXIT_CODE = 75
"""EX_TEMPFAIL of sysexits.h."""

REQUEST = "stop"
ANSWER = "stopped"
DEADLINE = "HTPO_DEADLINE"
SLURM_DEADLINE = "SLURM_JOB_END_TIME"


class StopRequested(Exception):
    """The run has saved and ends; no failure."""


def prepare(output_dir: str | Path) -> None:
    """Before the first step: what earlier runs left is no request; SIGUSR1 is one; workers are told the deadline."""
    directory = Path(output_dir)
    (directory / ANSWER).unlink(missing_ok=True)
    request = directory / REQUEST
    if request.exists() and request.stat().st_mtime < psutil.Process().create_time():
        request.unlink()
    signal.signal(signal.SIGUSR1, lambda *_: (directory / REQUEST).touch())
    if DEADLINE not in os.environ and SLURM_DEADLINE in os.environ:
        os.environ[DEADLINE] = os.environ[SLURM_DEADLINE]


def was_asked(output_dir: str | Path) -> bool:
    """Whether the run that has just ended did so because it was asked to."""
    return (Path(output_dir) / ANSWER).exists()


class StopRequest:
    """Asked at the end of every step; `margin_s` seconds are kept for the save and the end of the processes."""

    def __init__(self, output_dir: str | Path, margin_s: float) -> None:
        self._directory = Path(output_dir)
        self._margin_s = margin_s
        self._deadline = float(os.environ.get(DEADLINE, "inf"))
        self._step_began: float | None = None
        self._longest_s = 0.0

    def begin_step(self) -> None:
        """The next step begins; what came between, such as a validation, belonged to the last one."""
        self._longest_s, self._step_began = self._longest(), time.monotonic()

    def reason(self) -> str | None:
        """Why the run has to end after this step; None when it goes on."""
        if (self._directory / REQUEST).exists():
            return f"{self._directory / REQUEST} is there"
        longest = self._longest()
        left = self._deadline - time.time()
        if left < longest + self._margin_s:
            return f"{left:.0f} s are left until the deadline, a step takes up to {longest:.0f} s"
        return None

    def _longest(self) -> float:
        return (
            self._longest_s if self._step_began is None else max(self._longest_s, time.monotonic() - self._step_began)
        )

    def answer(self, step: int) -> None:
        """Tell whoever asked that `step` is saved and the run ends."""
        (self._directory / ANSWER).write_text(f"{step}\n", encoding="utf-8")
        (self._directory / REQUEST).unlink(missing_ok=True)
