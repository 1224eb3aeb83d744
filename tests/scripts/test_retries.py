# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""`scripts/run_htpo_qwen.sh` starts a crashed run again, and nothing else; signals reach the run.

A command stands in for the training: what is looked at is the shell's part.
"""

import os
import signal
import subprocess
import sys

import pytest
from script_support import SCRIPTS, run_script, wait_until

SCRIPT = SCRIPTS / "run_htpo_qwen.sh"
STAND_IN = """#!/usr/bin/env bash
if [[ "$*" != *recipe.htpo.main_htpo* ]]; then exec {python} "$@"; fi
echo start >>"{starts}"
{training}
"""


@pytest.fixture
def training(tmp_path):
    """Makes a Python whose training is `code`, and counts its starts."""
    starts = tmp_path / "starts"

    def make(code):
        path = tmp_path / "python"
        path.write_text(STAND_IN.format(python=sys.executable, starts=starts, training=code))
        path.chmod(0o755)
        return {"PYTHON": path, "RETRY_WAIT_S": 0}

    make.count = lambda: len(starts.read_text().split()) if starts.exists() else 0
    return make


@pytest.mark.parametrize(
    "code, knobs, ends_with, starts",
    [
        (7, {"RETRIES": 2}, 7, 3),
        # The watchdog's
        (70, {"RETRIES": 1}, 70, 2),
        # Nodes that did not come
        (69, {"RETRIES": 1}, 69, 2),
        (7, {"RETRIES": 0}, 7, 1),
        # A wrong setting; it saved and stopped; it is done
        (2, {}, 2, 1),
        (2, {"REFUSED_CODE": 0}, 0, 1),
        (75, {}, 75, 1),
        (0, {}, 0, 1),
    ],
)
def test_exit_codes(training, code, knobs, ends_with, starts):
    finished = run_script(SCRIPT, **training(f"exit {code}"), **knobs)
    assert finished.returncode == ends_with, finished.stderr
    assert training.count() == starts
    assert finished.stderr.count("starting it again") == starts - 1


def test_a_run_that_recovers_ends_well(training):
    finished = run_script(SCRIPT, **training('[[ $(wc -l <"$0".again) == 2 ]] || { echo >>"$0".again; exit 9; }'))
    assert finished.returncode == 0 and training.count() == 3


@pytest.mark.parametrize("value", ["ever", "08"])
@pytest.mark.parametrize("knob", ["RETRIES", "RETRY_WAIT_S", "REFUSED_CODE"])
def test_knobs_are_numbers(training, knob, value):
    """Bash takes 08 for a broken octal number, with which no count ever ends."""
    finished = run_script(SCRIPT, **training("exit 0") | {knob: value})
    assert finished.returncode == 2 and f"is {value}" in finished.stderr and training.count() == 0


@pytest.fixture
def started():
    """Starts the script as a person does in a shell."""

    def start(knobs):
        # A shell cannot trap a signal that was ignored when it started, as SIGINT is below a background job.
        return subprocess.Popen(
            ["bash", str(SCRIPT)],
            env=os.environ | {name: str(value) for name, value in knobs.items()},
            start_new_session=True,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    return start


SIGNALS = pytest.mark.parametrize(
    "sent, ends_with", [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 75)], ids=lambda value: str(value)
)


@SIGNALS
def test_signals_reach_the_run_and_end_the_retries(training, started, sent, ends_with):
    """Ended by hand it is not started again; SIGUSR1 is the run's own matter."""
    process = started(training('trap "exit 75" USR1\ntrap "exit 1" TERM\nwhile true; do sleep 0.1; done'))
    assert wait_until(lambda: training.count() == 1)
    process.send_signal(sent)
    assert process.wait(timeout=60) == ends_with and training.count() == 1


@SIGNALS
def test_signals_between_two_starts_end_the_retries(training, started, sent, ends_with):
    """There is no run to tell then, and its process number may be another's."""
    process = started(training("exit 7") | {"RETRY_WAIT_S": 600})
    assert "starting it again" in process.stderr.readline()
    process.send_signal(sent)
    assert process.wait(timeout=60) == ends_with and training.count() == 1
    assert process.stderr.read() == ""


def test_a_request_before_the_run_listens_ends_the_retries(training, started):
    """While a run imports its modules, SIGUSR1 ends it: nothing was trained that could be saved."""
    process = started(training("exec sleep 600"))
    assert wait_until(lambda: training.count() == 1)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == 75 and training.count() == 1


def test_a_run_that_breaks_when_it_is_asked_to_stop_is_not_started_again(training, started):
    process = started(training('trap "exit 9" USR1\nwhile true; do sleep 0.1; done'))
    assert wait_until(lambda: training.count() == 1)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == 9 and training.count() == 1
