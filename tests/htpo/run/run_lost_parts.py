# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Actors of a Ray of its own end in all ways; which of them `PartsInUse` calls lost: `python run_lost_parts.py`.

A process of its own: Ray leaves settings in the environment of one that starts it.
"""

import os
import re
import signal
import sys
import time

import ray
from ray._private.state import actors

from recipe.htpo.run.ray_cluster import PartsInUse


def actor(name, **options):
    methods = {"pid": lambda self: os.getpid(), "leave": lambda self: sys.exit(0)}
    made = ray.remote(type(name, (), methods)).options(num_cpus=0, **options).remote()
    return made, ray.get(made.pid.remote())


def wait_for_the_dead(names):
    deadline = time.monotonic() + 60
    while {actor["ActorClassName"].rpartition(".")[2] for actor in actors(actor_state_name="DEAD").values()} != names:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def main():
    ray.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=80_000_000)
    parts = PartsInUse()
    ended, _ = actor("vLLMHttpServer")
    leaving, _ = actor("WorkerDict")
    sandbox, sandbox_pid = actor("Sandbox")
    restarted, restarted_pid = actor("AgentLoopWorkerTQ", max_restarts=1)
    storage, pid = actor("SimpleStorageUnit")
    assert parts.lost() is None
    ray.kill(ended)
    leaving.leave.remote()
    for crashing in (sandbox_pid, restarted_pid):
        os.kill(crashing, signal.SIGKILL)
    gone = {"vLLMHttpServer", "WorkerDict", "Sandbox"}
    wait_for_the_dead(gone)
    assert [parts.lost(), parts.lost()] == [None, None]
    os.kill(pid, signal.SIGKILL)
    wait_for_the_dead(gone | {"SimpleStorageUnit"})
    assert parts.lost() is None
    told = parts.lost()
    assert re.fullmatch(rf"lost SimpleStorageUnit \(pid {pid} on [\d.]+\), whose process ended", told), told
    print("one was lost")


if __name__ == "__main__":
    main()
