# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Which cluster a run uses, by configuration and environment; and what of it is lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recipe.htpo.config import compose
from recipe.htpo.run.checked_runner import CheckedRunner
from recipe.htpo.run.ray_cluster import LOCAL_ONLY, choose

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
    program = Path(__file__).with_name("run_lost_parts.py")
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    result = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0 and "one was lost" in result.stdout, result.stderr
