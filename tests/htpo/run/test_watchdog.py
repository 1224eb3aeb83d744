# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A process without progress ends with the reason; one with progress goes on."""

import subprocess
import sys
import threading
import time

import pytest

from recipe.htpo.run import heartbeat
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
    # A busy machine may take a second for a tenth of one.
    beats = "watchdog.start('start-up')\nfor _ in range(25):\n    time.sleep(0.1)\n    watchdog.beat('a step')\n"
    result = run(f"watchdog = Watchdog(timeout_s=2.0)\n{beats}")
    assert (result.returncode, result.stderr) == (0, "")


def test_before_its_start_it_does_not_watch():
    result = run("watchdog.beat('model loading')\ntime.sleep(1)\n")
    assert (result.returncode, result.stderr) == (0, "")


def test_progress_inside_a_phase_keeps_it_alive():
    """A generation of many time-outs' length, in which responses come."""
    watchdog = Watchdog(timeout_s=0.4, progress=lambda: time.monotonic())
    watchdog.start("generation of step 1")
    time.sleep(1.5)
    watchdog.stop()


def test_without_progress_the_phase_ends_it():
    result = run(
        "watchdog = Watchdog(0.4, progress=lambda: 7)\nwatchdog.start('generation of step 1')\ntime.sleep(60)\n"
    )
    assert result.returncode == EXIT_CODE and "in generation of step 1" in result.stderr


def test_a_failing_look_is_no_progress_and_no_end_of_the_watch():
    failing = "watchdog = Watchdog(0.4, progress=lambda: 1 / 0)\nwatchdog.start('x')\ntime.sleep(60)\n"
    result = run(failing)
    assert result.returncode == EXIT_CODE
    assert "cannot see the progress: ZeroDivisionError" in result.stderr
    assert "no progress for 0 s in x" in result.stderr


def test_what_is_lost_ends_it_at_once():
    result = run("Watchdog(60, lost=lambda: 'lost node 7').start('generation of step 1')\ntime.sleep(60)\n")
    assert result.returncode == EXIT_CODE
    assert result.stderr == "HTPO watchdog: lost node 7 in generation of step 1; ending the run.\n"


@pytest.mark.parametrize("lost", ["time.sleep(600)", "1 / 0"])
def test_a_question_without_an_answer_does_not_keep_it_from_its_time_out(lost):
    result = run(f"Watchdog(0.4, lost=lambda: {lost}).start('x')\ntime.sleep(60)\n")
    assert result.returncode == EXIT_CODE and "no progress for 0 s in x" in result.stderr
    assert ("cannot look for what is lost" in result.stderr) == (lost == "1 / 0")


def test_it_leaves_no_thread_behind():
    before = threading.active_count()
    watchdog = Watchdog(timeout_s=100)
    assert threading.active_count() == before
    watchdog.start("start-up")
    assert threading.active_count() == before + 1
    watchdog.stop()
    assert threading.active_count() == before


def test_a_jump_of_the_clock_is_no_lack_of_progress(monkeypatch):
    watchdog = Watchdog(timeout_s=100)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    watchdog.start("start-up")
    time.sleep(0.1)
    watchdog.stop()


def test_heartbeat(tmp_path, monkeypatch):
    path = tmp_path / "heartbeat"
    assert heartbeat.last(None) == heartbeat.last(str(path)) == 0.0
    monkeypatch.setattr(heartbeat, "_last_beat", -10.0)
    heartbeat.beat()
    assert not path.exists()
    monkeypatch.setenv(heartbeat.VARIABLE, str(path))
    heartbeat.beat()
    first = heartbeat.last(str(path))
    assert first > 0
    heartbeat.beat()
    assert heartbeat.last(str(path)) == first
    monkeypatch.setenv(heartbeat.VARIABLE, str(tmp_path / "nowhere" / "heartbeat"))
    monkeypatch.setattr(heartbeat, "_last_beat", -10.0)
    heartbeat.beat()


@pytest.mark.parametrize("timeout_s", [0, -1.0])
def test_timeout_must_be_positive(timeout_s):
    with pytest.raises(ValueError, match="htpo.watchdog_timeout_s must be positive"):
        Watchdog(timeout_s)
