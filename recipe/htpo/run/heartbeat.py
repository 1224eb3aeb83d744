# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A file whose time of change says that a run is at work.

An update or a pass for log-probabilities is one remote call for the trainer, however many micro-batches it has, and a
wave of long responses one wait, however many tokens they have. The training engines touch the file before each
micro-batch (seams/engine_beat.py), the rollout servers after each step of their engine that made tokens
(seams/rollout_beat.py); the trainer's watchdog looks at its time. Where these share no file system with the trainer,
the watchdog sees the phases and whole responses only.
"""

import os
import time
from pathlib import Path

VARIABLE = "HTPO_HEARTBEAT"
"""Environment variable that names the file to workers and trainer."""

_EVERY_S = 1.0
_last_beat = 0.0


def beat() -> None:
    """Touch the file, at most once a second; nothing without one, or where it cannot be written."""
    global _last_beat
    path = os.environ.get(VARIABLE)
    now = time.monotonic()
    if not path or now - _last_beat < _EVERY_S:
        return
    _last_beat = now
    try:
        Path(path).touch()
    except OSError:
        # A full or lost disk ends the run elsewhere, with its reason.
        return


def last(path: str | None) -> float:
    """When the file was last touched, in seconds; 0 where there is none."""
    try:
        return os.stat(path).st_mtime if path else 0.0
    except OSError:
        return 0.0
