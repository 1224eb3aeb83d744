# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A process without progress ends with the reason; one with progress goes on."""

import subprocess
import sys

import pytest

from recipe.htpo.run.watchdog import EXIT_CODE, Watchdog

HEADER = "import time\nfrom recipe.htpo.run.watchdog import Watchdog\nwatchdog = Watchdog(timeout_s=0.4)\n"


def run(code):
    return subprocess.run([sys.executable, "-c", HEADER + code], capture_output=True, text=True, timeout=120)


def test_a_stalled_process_ends_and_names_the_phase():
    stuck = (
        "def waits_for_ever():\n    time.sleep(100)\n"
        "watchdog.start('start-up')\nwatchdog.beat('generation of step 3')\nwaits_for_ever()\n"
    )
    result = run(stuck)
    assert result.returncode == EXIT_CODE
    assert "HTPO watchdog: no progress for 0 s in generation of step 3" in result.stderr
    assert "htpo.watchdog_timeout_s" in result.stderr
    # Where it hangs.
    assert "waits_for_ever" in result.stderr


def test_beats_keep_it_alive_and_its_end_is_its_own():
    result = run("watchdog.start('start-up')\nfor _ in range(12):\n    time.sleep(0.1)\n    watchdog.beat('a step')\n")
    assert (result.returncode, result.stderr) == (0, "")


def test_before_its_start_it_does_not_watch():
    result = run("watchdog.beat('model loading')\ntime.sleep(1)\n")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("timeout_s", [0, -1.0])
def test_timeout_must_be_positive(timeout_s):
    with pytest.raises(ValueError, match="htpo.watchdog_timeout_s must be positive"):
        Watchdog(timeout_s)
