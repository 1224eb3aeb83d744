# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The plugin as verl loads it: fresh processes, through the installed entry point."""

import json
import os
import subprocess
import sys

import pytest

from recipe.htpo.seams import plugin

REPORT = """
import json, sys

report = {}
import verl

plugin = sys.modules.get("recipe.htpo.seams.plugin")
report["loaded"] = plugin is not None and plugin.is_loaded()
report["modules"] = [name for name in sys.modules if name.startswith(("recipe.", "verl.trainer", "verl.workers"))]

from verl.plugin.platform import PlatformRegistry, get_platform

report["registered"] = "cpu" in PlatformRegistry.registered_names()
report["platform"] = get_platform().device_name

# Somebody else's first import: it brings our loss, which needs this very module.
from verl.workers.utils.losses import sft_loss
from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY, POLICY_LOSS_REGISTRY

report["algorithms"] = ["htpo" in POLICY_LOSS_REGISTRY, "htpo" in ADV_ESTIMATOR_REGISTRY]
report["trainer_before"] = "recipe.htpo.seams.trainer" in sys.modules

from verl.trainer.ppo.v1 import get_trainer_cls

report["trainers"] = {
    name: [base.__name__ for base in get_trainer_cls(name).__mro__] for name in ("htpo_sync", "htpo_colocate_async")
}
"""


def run(code, **environment):
    """What `code` leaves in `report`, in a new process."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VERL_")}
    result = subprocess.run(
        [sys.executable, "-c", code + "\nprint('REPORT' + json.dumps(report))"],
        env=inherited | environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.rpartition("REPORT")[2])


@pytest.fixture(scope="module")
def plain():
    """`import verl`, and then the trainers, as on an accelerator machine."""
    return run(REPORT)


@pytest.fixture(scope="module")
def on_cpu():
    return run(REPORT, VERL_PLATFORM="cpu")


@pytest.mark.long
def test_verl_loads_the_plugin_to_its_end(plain, on_cpu):
    assert plain["loaded"] and on_cpu["loaded"]


@pytest.mark.long
def test_importing_verl_stays_light(plain):
    ours = [name for name in plain["modules"] if name.startswith("recipe.")]
    assert set(ours) == {
        "recipe.htpo",
        "recipe.htpo.import_hooks",
        "recipe.htpo.seams",
        "recipe.htpo.seams.plugin",
    }
    assert not any(name.startswith("verl.trainer.ppo.v1") for name in plain["modules"])


@pytest.mark.long
def test_the_cpu_platform_is_there_only_where_asked_for(plain, on_cpu):
    assert not plain["registered"] and plain["platform"] != "cpu"
    assert on_cpu["registered"] and on_cpu["platform"] == "cpu"


@pytest.mark.long
def test_names_are_in_verls_registries(plain):
    assert plain["algorithms"] == [True, True]
    assert not plain["trainer_before"]
    for name, own, verls in (
        ("htpo_sync", "HTPOTrainerSync", "PPOTrainerSync"),
        ("htpo_colocate_async", "HTPOTrainerColocateAsync", "PPOTrainerColocateAsync"),
    ):
        mixins = ["HTPOTrainerMixin", "RunLifeMixin", "ValidationMixin", "WeightsMixin"]
        assert plain["trainers"][name][:6] == [own, *mixins, verls]


@pytest.mark.long
def test_our_modules_may_be_imported_before_verls():
    """Each imports verl's module whose hook imports ours."""
    report = run(
        "import json\n"
        "from recipe.htpo.seams.loss import token_objective_loss\n"
        "from recipe.htpo.seams.trainer import HTPOTrainerSync\n"
        "from verl.trainer.ppo.core_algos import get_adv_estimator_fn, get_policy_loss_fn\n"
        "from verl.trainer.ppo.v1 import get_trainer_cls\n"
        "report = [get_policy_loss_fn('htpo') is token_objective_loss]\n"
        "report += [get_trainer_cls('htpo_sync') is HTPOTrainerSync, callable(get_adv_estimator_fn('htpo'))]\n"
    )
    assert report == [True, True, True]


def test_not_loaded_is_told_from_loaded(monkeypatch):
    """verl swallows a plugin's exception at DEBUG level; a half-executed module must not count."""
    assert plugin.is_loaded()
    monkeypatch.delattr(plugin, "_LOADED")
    assert not plugin.is_loaded()
    monkeypatch.delitem(sys.modules, plugin.__name__)
    assert not plugin.is_loaded()
