# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""One start at a time in a directory, and a lock that dies with its process."""

import errno
import fcntl
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
        lock.hold(tmp_path / "other").close()
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
    held.close()
    lock.hold(tmp_path).close()


def test_a_damaged_note_of_the_holder_is_no_obstacle(tmp_path):
    held = lock.hold(tmp_path)
    (tmp_path / lock.HOLDER_FILE).write_text("")
    with pytest.raises(lock.AlreadyRunning, match="in use by another process"):
        lock.hold(tmp_path)
    held.close()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_of_and_stops_no_start(tmp_path, monkeypatch, capsys, code):
    def no_locks(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    first = lock.hold(tmp_path)
    # As another machine's after this one's death, or beside it.
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    lock.hold(tmp_path).close()
    first.close()
    assert capsys.readouterr().out.count(f"warning: the file system of {tmp_path} has no locks") == 2


def test_an_error_that_says_nothing_of_locks_is_raised(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(OSError, match="Input/output error"):
        lock.hold(tmp_path)
