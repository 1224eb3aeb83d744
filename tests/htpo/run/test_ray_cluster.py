# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Which cluster a run uses, by configuration and environment; and what of it is lost."""

import os
import re
import signal
import sys
import time

import pytest

from recipe.htpo.config import compose
from recipe.htpo.run.checked_runner import CheckedRunner
from recipe.htpo.run.ray_cluster import LOCAL_ONLY, PartsInUse, choose

ADDRESS = "127.0.0.1:6379"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def configuration(*overrides):
    inputs = ["actor_rollout_ref.model.path=unused", "data.train_files=unused", "data.val_files=unused"]
    return compose(["platform=cpu", *inputs, *overrides])


def test_the_cpu_platform_starts_its_own():
    """Even beside a cluster that somebody started on the machine: its GPUs would not be logical ones."""
    config = configuration()
    assert choose(config) is None
    assert config.ray_kwargs.ray_init.address == "local"
    assert config.ray_kwargs.ray_init.num_gpus == 1


@pytest.mark.parametrize("by", ["environment", "configuration"])
def test_a_cluster_that_is_there(monkeypatch, capsys, by):
    if by == "environment":
        monkeypatch.setenv("RAY_ADDRESS", ADDRESS)
        config = configuration()
    else:
        config = configuration(f"+ray_kwargs.ray_init.address={ADDRESS}")
    found = choose(config)
    assert found is not None and found.endswith(":6379")
    # Ray refuses them beside an address.
    assert not [name for name in LOCAL_ONLY if config.ray_kwargs.ray_init.get(name) is not None]
    output = capsys.readouterr().out
    assert found in output and "not used there: num_cpus, num_gpus" in output


def test_local_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", ADDRESS)
    config = configuration("+ray_kwargs.ray_init.address=local")
    assert choose(config) is None and config.ray_kwargs.ray_init.num_gpus == 1


def test_an_address_that_cannot_be_read():
    with pytest.raises(ValueError, match="head-node"):
        choose(configuration("+ray_kwargs.ray_init.address=head-node"))


class Refused(Exception):
    pass


class ActorClass:
    """Records what is asked of it, as a Ray actor class would be."""

    def __init__(self):
        self.calls = []

    def options(self, **options):
        self.calls.append(options)
        return self

    def remote(self):
        self.calls.append("remote")
        return "handle"


def test_the_check_comes_before_the_actor():
    actor_class, order = ActorClass(), []
    runner = CheckedRunner(actor_class, lambda: order.append(list(actor_class.calls)))
    assert runner.options(runtime_env={}).remote() == "handle"
    assert order == [[{"runtime_env": {}}]] and actor_class.calls == [{"runtime_env": {}}, "remote"]


def test_no_actor_after_a_refusal():
    actor_class = ActorClass()

    def refuse():
        raise Refused

    with pytest.raises(Refused):
        CheckedRunner(actor_class, refuse).remote()
    assert actor_class.calls == []


@pytest.mark.slow
def test_an_actor_that_crashed_is_lost_at_the_second_look():
    """Not one that was ended, not one of a reward's own, and not before verl's own error had its time."""
    import ray

    def actor(name, **options):
        methods = {"pid": lambda self: os.getpid(), "leave": lambda self: sys.exit(0)}
        made = ray.remote(type(name, (), methods)).options(num_cpus=0, **options).remote()
        return made, ray.get(made.pid.remote())

    ray.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=80_000_000)
    try:
        parts = PartsInUse()
        ended, _ = actor("vLLMHttpServer")
        sandbox, sandbox_pid = actor("Sandbox")
        restarted, restarted_pid = actor("AgentLoopWorkerTQ", max_restarts=1)
        storage, pid = actor("SimpleStorageUnit")
        leaving, _ = actor("WorkerDict")
        assert parts.lost() is None
        ray.kill(ended)
        leaving.leave.remote()
        for crashing in (sandbox_pid, restarted_pid):
            os.kill(crashing, signal.SIGKILL)
        gone = {"vLLMHttpServer", "WorkerDict", "Sandbox"}
        wait_for(lambda: names_of_the_dead() == gone)
        assert [parts.lost(), parts.lost()] == [None, None]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: names_of_the_dead() == gone | {"SimpleStorageUnit"})
        assert parts.lost() is None
        assert re.fullmatch(rf"lost SimpleStorageUnit \(pid {pid} on [\d.]+\), whose process ended", parts.lost())
    finally:
        ray.shutdown()


def names_of_the_dead():
    from ray._private.state import actors

    return {actor["ActorClassName"].rpartition(".")[2] for actor in actors(actor_state_name="DEAD").values()}


def wait_for(happened):
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.2)
