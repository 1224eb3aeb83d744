# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What `train` hands over to verl."""

import verl.trainer.main_ppo

from recipe.htpo import cpu
from recipe.htpo.config import compose
from recipe.htpo.main_htpo import FORWARDED, train


def test_every_process_of_a_cluster_gets_what_it_needs_of_the_environment(monkeypatch, tmp_path):
    """The module of a rule of one's own among it: workers of a cluster that runs already do not inherit it."""
    given = {name: "my_rules" if name == "VERL_USE_EXTERNAL_MODULES" else "1" for name in FORWARDED}
    assert "VERL_USE_EXTERNAL_MODULES" in given
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    handed = {}
    monkeypatch.setattr(cpu, "activate", lambda: None)
    monkeypatch.setattr(
        verl.trainer.main_ppo,
        "run_ppo",
        lambda config, **_: handed.update(config.ray_kwargs.ray_init.runtime_env.env_vars),
    )
    train(compose(["platform=cpu", f"htpo.output_dir={tmp_path}"]))
    assert handed.keys() >= given.keys()
    assert handed["VERL_USE_EXTERNAL_MODULES"] == "my_rules"
