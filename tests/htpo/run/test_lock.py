# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""One start at a time in a directory, and a lock that dies with its process."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from recipe.htpo.run import lock

HOLD = """
import sys, time
from recipe.htpo.run import lock
held = lock.hold(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""


def start(directory):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(directory)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_start_is_refused_and_told_who_has_it(tmp_path):
    first = start(tmp_path / "run")
    try:
        with pytest.raises(lock.AlreadyRunning, match=f"in use by process {first.pid} on {socket.gethostname()}"):
            lock.hold(tmp_path / "run")
        lock.hold(tmp_path / "other").release()
    finally:
        first.kill()
        first.wait()


def test_a_killed_process_leaves_no_lock(tmp_path):
    first = start(tmp_path)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    held = lock.hold(tmp_path)
    with pytest.raises(lock.AlreadyRunning):
        lock.hold(tmp_path)
    held.release()
    lock.hold(tmp_path).release()


def test_a_damaged_note_of_the_holder_is_no_obstacle(tmp_path):
    held = lock.hold(tmp_path)
    (tmp_path / lock.HOLDER_FILE).write_text("")
    with pytest.raises(lock.AlreadyRunning, match="in use by another process"):
        lock.hold(tmp_path)
    held.release()
