# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The supervisor with real processes: exit codes pass through, and nothing stays behind."""

import errno
import os
import signal
import subprocess
import sys
import time
import uuid
from multiprocessing import shared_memory
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from recipe.htpo.problem import EXIT_CODE
from recipe.htpo.run import supervise
from recipe.htpo.run.supervise import RAY_LOGS, STATS_FILE, _environment

# A daemon as Ray's: a session of its own, and its parent is gone.
DETACH = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1] + "/daemon", "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
os.wait()
"""

CHILD = "import subprocess\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"

LEAK = """
from multiprocessing import resource_tracker, shared_memory
leaked = shared_memory.SharedMemory(name=sys.argv[2], create=True, size=4096)
resource_tracker.unregister(leaked._name, "shared_memory")
leaked.buf[:4] = b"used"
"""

READY = "open(sys.argv[1] + '/ready', 'w').close()\ntime.sleep(600)\n"


def start(output_dir, code, *arguments):
    command = [sys.executable, "-m", "recipe.htpo.run.supervise", "--output-dir", str(output_dir), "--"]
    return subprocess.Popen(
        [*command, sys.executable, "-c", code, str(output_dir), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """Exit code, stdout and stderr."""
    output, errors = process.communicate(timeout=180)
    return process.returncode, output, errors


def wait_for(path):
    deadline = time.monotonic() + 120
    while not path.exists() or (path.name == "daemon" and not path.read_text()):
        assert time.monotonic() < deadline, f"{path} was not written"
        time.sleep(0.05)


@pytest.fixture
def foreign():
    """A shared-memory file of somebody else."""
    segment = shared_memory.SharedMemory(name=f"psm_foreign_{uuid.uuid4().hex[:8]}", create=True, size=4096)
    yield Path("/dev/shm") / segment.name
    segment.close()
    segment.unlink()


def test_success(tmp_path):
    code, output, errors = finish(start(tmp_path / "run", "print('hello from the run')"))
    assert (code, errors) == (0, "")
    assert "hello from the run" in (tmp_path / "run" / "log.txt").read_text()
    assert "hello" not in output and "log.txt" in output
    assert (tmp_path / "run" / STATS_FILE).exists()


def test_failure_passes_the_code_on_and_shows_the_end_of_the_log(tmp_path):
    (tmp_path / "log.txt").write_text("from an earlier start\n")
    noise = "print('HTPO watchdog: no progress')\nfor i in range(100): print('line', i)\nraise SystemExit(7)"
    code, _, errors = finish(start(tmp_path, noise))
    assert code == 7
    assert "the run failed (exit code 7)" in errors
    assert "line 99" in errors and "line 50\n" not in errors
    # The reason, even where other processes wrote more after it; nothing of an earlier start.
    assert "HTPO watchdog: no progress" in errors and "earlier" not in errors
    assert (tmp_path / "log.txt").read_text().startswith("from an earlier start\n")


def test_failure_names_the_errors_of_the_processes(tmp_path):
    worker = "\x1b[36m(AgentLoopWorkerTQ pid=7, ip=10.0.0.1)\x1b[0m "
    lines = [
        *[worker + "RuntimeError: the reward raises"] * 3,
        "(vLLMHttpServer pid=8) WARNING [base.py:259] ValueError: harmless",
        "(TaskRunnerV1 pid=9) ray.exceptions.ActorDiedError: gone",
    ]
    _, _, errors = finish(start(tmp_path, f"print({chr(10).join(lines)!r})\nraise SystemExit(1)"))
    told = errors.split("errors of its processes, in the order of the log:\n")[1].splitlines()
    assert [line.strip() for line in told] == [
        "AgentLoopWorkerTQ: RuntimeError: the reward raises (3 times)",
        "TaskRunnerV1: ray.exceptions.ActorDiedError: gone (1 times)",
    ]


def test_a_command_killed_by_a_signal_fails(tmp_path):
    code, _, errors = finish(start(tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"))
    assert code not in (0, None) and "the run failed" in errors


def test_no_command(tmp_path):
    command = [sys.executable, "-m", "recipe.htpo.run.supervise", "--output-dir", str(tmp_path), "--"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2 and "no command given after --" in result.stderr


def test_what_a_finished_command_leaves_behind_is_ended(tmp_path):
    code, _, errors = finish(start(tmp_path, DETACH))
    assert (code, errors) == (0, "")
    wait_for(tmp_path / "daemon")
    assert not psutil.pid_exists(int((tmp_path / "daemon").read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything(tmp_path, foreign, number):
    name = f"psm_leaked_{uuid.uuid4().hex[:8]}"
    process = start(tmp_path, DETACH + CHILD + LEAK + READY, name)
    wait_for(tmp_path / "ready")
    wait_for(tmp_path / "daemon")
    descendants = psutil.Process(process.pid).children(recursive=True)
    daemon = int((tmp_path / "daemon").read_text())
    # The command, its child and the orphaned daemon.
    assert len(descendants) >= 3 and daemon in {child.pid for child in descendants}
    assert (Path("/dev/shm") / name).exists()
    process.send_signal(number)
    code, output, _ = finish(process)
    assert code == 128 + number
    assert "the same command resumes from the last checkpoint" in output
    assert not [child for child in descendants if child.is_running()]
    assert not (Path("/dev/shm") / name).exists()
    assert foreign.exists()


def test_shared_memory_of_a_foreign_process_that_the_run_mapped_too_stays(tmp_path, foreign):
    attach = (
        "import sys, time\nfrom multiprocessing import resource_tracker, shared_memory\n"
        "segment = shared_memory.SharedMemory(name=sys.argv[2])\n"
        "resource_tracker.unregister(segment._name, 'shared_memory')\n"
    )
    process = start(tmp_path, attach + READY, foreign.name)
    wait_for(tmp_path / "ready")
    process.terminate()
    assert finish(process)[0] == 128 + signal.SIGTERM
    assert foreign.exists()


def test_progress_shows_every_new_step_once(tmp_path):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "0000.jsonl").write_text('{"step": 1, "data": {"x": 1}}\n')
    write = (
        "import json, sys, time\n"
        "with open(sys.argv[1] + '/metrics/0001.jsonl', 'w') as stream:\n"
        "    for step in (2, 3):\n"
        "        data = {'htpo/pass_rate': 0.5, 'htpo/hard_prompt_frac': 0.25, 'actor/entropy': 1.0,\n"
        "                'timing_s/step': 2.0, 'val-core/arithmetic/acc/mean@4': 0.125}\n"
        "        print(json.dumps({'step': step, 'data': data}), file=stream, flush=True)\n"
        "        time.sleep(1.0)\n"
    )
    code, output, _ = finish(start(tmp_path, write))
    assert code == 0
    steps = [line for line in output.splitlines() if line.startswith("[")]
    assert len(steps) == 2 and "step    2" in steps[0] and "step    3" in steps[1]
    assert "pass rate 0.500" in steps[0] and "held-out arithmetic accuracy 0.125" in steps[0]


def test_metrics_that_are_no_numbers_do_not_end_the_run(tmp_path):
    write = (
        "import os, sys, time\n"
        "os.makedirs(sys.argv[1] + '/metrics')\n"
        "with open(sys.argv[1] + '/metrics/0000.jsonl', 'w') as stream:\n"
        '    data = \'{"htpo/pass_rate": 0.5, "actor/entropy": null, "val-core/a/acc/mean@4": null}\'\n'
        "    print('{\"step\": 1, \"data\": ' + data + '}', file=stream, flush=True)\n"
        "    time.sleep(2.0)\n"
        "print('came to its end')\n"
    )
    code, output, errors = finish(start(tmp_path, write))
    assert (code, errors) == (0, "") and "step    1  pass rate 0.500\n" in output
    assert "came to its end" in (tmp_path / "log.txt").read_text()


def test_an_error_of_the_progress_is_told_and_goes_no_further(tmp_path, monkeypatch, capsys):
    def damaged(_):
        raise TypeError("unsupported")

    progress = supervise._Progress(tmp_path)
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "0000.jsonl").touch()
    monkeypatch.setattr(supervise, "read_steps", damaged)
    progress.update()
    assert "the progress cannot be shown: TypeError('unsupported')" in capsys.readouterr().err


LEAVES = """
import os, sys, time
from pathlib import Path
own = Path(os.environ["TMPDIR"])
(own / "left").touch()
logs = own / "ray" / "session_1_2" / "logs"
logs.mkdir(parents=True)
(logs / "raylet.out").write_text("why")
open(sys.argv[1] + "/own", "w").write(str(own))
"""


def test_temporary_files_go_and_a_failed_starts_ray_logs_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    output_dir = tmp_path / "run"
    assert finish(start(output_dir, LEAVES))[0] == 0
    own = Path((output_dir / "own").read_text())
    assert own.parent == tmp_path and not own.exists()
    assert not (output_dir / RAY_LOGS).exists()
    assert finish(start(output_dir, LEAVES + "sys.exit(3)"))[0] == 3
    assert (output_dir / RAY_LOGS / "session_1_2" / "raylet.out").read_text() == "why"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_refused_start_leaves_what_an_earlier_one_kept(tmp_path):
    assert finish(start(tmp_path, LEAVES + "sys.exit(3)"))[0] == 3
    (tmp_path / STATS_FILE).write_text("of the run")
    assert finish(start(tmp_path, "raise SystemExit(2)"))[0] == EXIT_CODE == 2
    assert (tmp_path / RAY_LOGS / "session_1_2" / "raylet.out").read_text() == "why"
    assert (tmp_path / STATS_FILE).read_text() == "of the run"


def test_the_next_start_removes_and_ends_what_a_killed_supervisor_left(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    output_dir = tmp_path / "run"
    killed = start(output_dir, LEAVES + READY)
    wait_for(output_dir / "ready")
    own = Path((output_dir / "own").read_text())
    orphan = subprocess.Popen(["sleep", "600"], env={**os.environ, "TMPDIR": str(own)})
    bystander = subprocess.Popen(["sleep", "600"], env={**os.environ, "TMPDIR": str(own.parent)})
    # While it lives, another start of the same run leaves it alone.
    assert finish(start(output_dir, "pass"))[0] == 0
    assert (own / "left").exists() and orphan.poll() is None
    killed.kill()
    killed.communicate()
    assert finish(start(output_dir, "pass"))[0] == 0
    assert not own.exists()
    assert orphan.wait(10) == -signal.SIGKILL and bystander.poll() is None
    bystander.kill()


def test_a_ray_that_is_to_be_joined_is_found_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("DIST_INIT_METHOD", raising=False)
    own = Path("/tmp/htpo_0a1b2c_abcdefgh")
    assert "RAY_TMPDIR" not in _environment(own)
    # Ray's sockets would have names that are too long there.
    assert _environment(Path("/a" * 20))["RAY_TMPDIR"] == str(tmp_path)
    assert _environment(own)["TMPDIR"] == str(own)
    # The workers of a cluster may be on other machines; those of a Ray of its own meet in a file.
    assert _environment(own)["DIST_INIT_METHOD"] == f"file://{own}/rendezvous"
    assert int(_environment(own)["RAY_raylet_start_wait_time_s"]) > 30
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert _environment(own)["RAY_TMPDIR"] == str(tmp_path) and "DIST_INIT_METHOD" not in _environment(own)
    monkeypatch.delenv("RAY_ADDRESS")
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("10.0.0.1:6379")
    assert _environment(own)["RAY_TMPDIR"] == str(tmp_path)


def test_a_full_disk_is_named_and_hides_no_exit_code(tmp_path, monkeypatch, capsys):
    def no_space(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(supervise, "write_atomic", no_space)
    monkeypatch.setattr(supervise.shutil, "disk_usage", lambda _: SimpleNamespace(free=3 << 20))
    monkeypatch.setattr(supervise.processes, "adopt_orphans", lambda: None)
    monkeypatch.setattr(supervise.signal, "signal", lambda *_: None)
    # Its clean-up would end this process's other children.
    monkeypatch.setattr(supervise.processes.ProcessTree, "end", lambda self: None)
    (tmp_path / "run").mkdir()
    assert supervise.supervise([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "run") == 3
    assert "is full (3 MiB free)" in capsys.readouterr().err
