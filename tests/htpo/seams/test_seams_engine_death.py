# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A rollout server ends soon after its engine crashed, and only then."""

import inspect
import subprocess
import sys

import pytest
from vllm.v1.engine.utils import CoreEngineProcManager

from recipe.htpo.run.watchdog import EXIT_CODE
from recipe.htpo.seams.engine_death import NAME

# A server with an engine's process that ends in one of the ways that processes do.
SERVER = """
import multiprocessing, os, signal, sys, time
from recipe.htpo.seams.engine_death import end_with_the_engine

def engine(end, watched):
    watched.wait()
    if end.startswith("exit"):
        os._exit(int(end[4:]))
    if end:
        os.kill(os.getpid(), signal.Signals[end])
    time.sleep(600)

name, end = sys.argv[1:]
context = multiprocessing.get_context("fork")
watched = context.Event()
process = context.Process(target=engine, args=(end, watched), name=name, daemon=True)
process.start()
end_with_the_engine(grace_s=0.2)
watched.set()
if name == "other" or not end or end in ("exit0", "SIGTERM"):
    time.sleep(1.5)
    process.kill()
    os._exit(7)
time.sleep(60)
"""


def server(name: str, end: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", SERVER, name, end], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("end, code", [("SIGKILL", "-9"), ("SIGABRT", "-6"), ("exit1", "1")])
def test_a_crash_ends_the_server_with_the_reason(end, code):
    result = server(f"{NAME}_DP0", end)
    assert result.returncode == EXIT_CODE
    assert (
        f"HTPO watchdog: vLLM's engine ended, {NAME}_DP0 (pid " in result.stderr
        and f"with exit code {code};" in result.stderr
    )


@pytest.mark.parametrize("name, end", [(NAME, "exit0"), (NAME, "SIGTERM"), (NAME, ""), ("other", "SIGKILL")])
def test_nothing_else_does(name, end):
    result = server(name, end)
    assert result.returncode == 7 and result.stderr == ""


def test_vllm_names_its_engines_so():
    source = inspect.getsource(CoreEngineProcManager.__init__)
    assert f'name=f"{NAME}_DP{{global_index}}" if is_dp else "{NAME}"' in source
    assert "get_mp_context()" in source
