# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A run is asked to stop by a file, a signal or a deadline, and by nothing else."""

import os
import signal
import subprocess
import sys
import time

import pytest

from recipe.htpo.run import stop
from recipe.htpo.run.stop import StopRequest


@pytest.fixture(autouse=True)
def no_deadline(monkeypatch):
    for name in (stop.DEADLINE, stop.SLURM_DEADLINE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def prepare(tmp_path):
    """As a run does; the handler of the signal goes again."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda: stop.prepare(tmp_path)
    signal.signal(signal.SIGUSR1, before)


def test_a_file_asks_and_is_answered(tmp_path, prepare):
    prepare()
    request = StopRequest(tmp_path, margin_s=0)
    request.begin_step()
    assert request.reason() is None and not stop.was_asked(tmp_path)
    (tmp_path / "stop").touch()
    assert "stop is there" in str(request.reason())
    request.answer(7)
    assert stop.was_asked(tmp_path) and (tmp_path / "stopped").read_text() == "7\n"
    assert not (tmp_path / "stop").exists()


def test_what_an_earlier_run_left_is_no_request(tmp_path, prepare):
    for name in ("stop", "stopped"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    prepare()
    assert not list(tmp_path.iterdir())
    # Asked since this process began, before it came here.
    (tmp_path / "stop").touch()
    prepare()
    assert StopRequest(tmp_path, margin_s=0).reason()


@pytest.mark.parametrize("name", [stop.DEADLINE, stop.SLURM_DEADLINE])
def test_a_deadline_before_which_no_other_step_fits(tmp_path, prepare, monkeypatch, name):
    now, clock = time.time(), [0.0]
    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setenv(name, str(now + 100))
    prepare()
    request = StopRequest(tmp_path, margin_s=30)
    # Whatever the start took.
    clock[0] = 1000.0
    request.begin_step()
    clock[0] += 60
    assert request.reason() is None
    # A validation after the step belongs to it.
    clock[0] += 15
    request.begin_step()
    clock[0] += 10
    assert request.reason() == "100 s are left until the deadline, a step takes up to 75 s"


def test_the_signal_is_a_request(tmp_path):
    code = (
        "import sys, time\nfrom recipe.htpo.run import stop\nstop.prepare(sys.argv[1])\n"
        "request = stop.StopRequest(sys.argv[1], 0)\nprint('ready', flush=True)\n"
        "while request.reason() is None:\n    time.sleep(0.05)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == 0
