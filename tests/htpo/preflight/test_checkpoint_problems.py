# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Room for checkpoints is a matter of the machine; versions of Megatron are too."""

import shutil
from pathlib import Path

import pytest
from preflight_support import assert_refused, composed

from recipe.htpo.preflight.machine import MEGATRON, check_disk, check_versions

ROOT = Path(__file__).resolve().parents[3]
MEGATRON_8B = ["layout=megatron/qwen3_8b", "model_engine=megatron"]
CPU_MEGATRON = ["platform=cpu_megatron", "model_engine=megatron"]


@pytest.mark.parametrize("layout, size", [("fsdp/qwen3_32b", 393.1), ("megatron/qwen3_32b", 458.7)])
def test_too_little_room(tmp_path, monkeypatch, layout, size):
    free = 500 * 10**9
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 10**12 - free, free))
    config = composed(
        [
            f"layout={layout}",
            f"model_engine={'dp' if layout.startswith('fsdp') else 'megatron'}",
            f"trainer.default_local_dir={tmp_path}/run/checkpoints",
        ]
    )
    problems = list(check_disk(config))
    message = rf"{tmp_path} has 500 GB free, 3 more checkpoints of {size} GB"
    assert_refused(problems, "trainer.default_local_dir", message, "max_actor_ckpt_to_keep")
    config.trainer.max_actor_ckpt_to_keep = None
    assert "2 more checkpoints" in next(check_disk(config)).message
    config.trainer.max_actor_ckpt_to_keep = 2
    # A resumed run writes over what it keeps.
    (tmp_path / "run" / "checkpoints" / "global_step_10").mkdir(parents=True)
    assert "2 more checkpoints" in next(check_disk(config)).message
    (tmp_path / "run" / "checkpoints" / "global_step_20").mkdir()
    assert list(check_disk(config)) == []
    config.trainer.save_freq = -1
    assert list(check_disk(config)) == []


def test_an_unknown_model_is_not_guessed(tmp_path):
    config = composed([f"trainer.default_local_dir={tmp_path}", "actor_rollout_ref.model.path=/no/such/model"])
    assert list(check_disk(config)) == []


def test_megatron_versions_on_the_cpu():
    """The locked environment has them."""
    assert list(check_versions(composed(CPU_MEGATRON))) == []


def test_megatron_versions(monkeypatch):
    monkeypatch.setitem(MEGATRON, "cpu", {"megatron-core": "==0.15.0", "no-such-bridge": ""})
    messages = [problem.message for problem in check_versions(composed(CPU_MEGATRON))]
    assert len(messages) == 2
    assert messages[0].startswith("megatron-core is 0.16.1") and messages[0].endswith("needs 0.15.0")
    assert messages[1] == "no-such-bridge is not installed, this recipe needs it"
    assert list(check_versions(composed(["platform=cpu"]))) == []


def test_megatron_versions_on_gpus():
    found = {problem.message.split()[0]: problem for problem in check_versions(composed(MEGATRON_8B))}
    assert {"megatron-bridge", "transformer-engine", "nvidia-modelopt", "flash-attn"} <= set(found)
    assert found["megatron-core"].message.endswith("needs 0.18.*")
    assert (ROOT / "scripts" / "install_gpu.sh").is_file() and (ROOT / "Dockerfile").is_file()
    assert all("scripts/install_gpu.sh or use the Dockerfile" in problem.remedy for problem in found.values())
