# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The CPU where verl expects an accelerator: device index, device module, platform."""

import pickle

import pytest
import torch
from verl.plugin.platform import PlatformRegistry

from recipe.htpo.cpu.device import CpuDeviceModule, DeviceId
from recipe.htpo.cpu.platform import ROLLOUT_ENV, PlatformCPU


def test_the_index_is_a_device_and_a_number():
    index = DeviceId()
    assert torch.ones(2).to(index).device == torch.device("cpu")
    assert torch.zeros(1, device=index).device.type == "cpu"
    # verl/utils/fsdp_utils.py builds such names.
    assert torch.device(f"cpu:{index}") == torch.device("cpu", 0)
    assert str(index) == "cpu" and isinstance(index, str)


def test_the_index_survives_ray():
    again = pickle.loads(pickle.dumps(DeviceId()))
    assert type(again) is DeviceId and f"cpu:{again}" == "cpu:0"


# What verl 0.9.1 calls on the result of get_torch_device() on the paths of FSDP2 and vLLM.
CALLS = [
    ("memory_allocated", ()),
    ("memory_reserved", ()),
    ("max_memory_allocated", ()),
    ("max_memory_reserved", ()),
    ("mem_get_info", ()),
    ("empty_cache", ()),
    ("ipc_collect", ()),
    ("reset_peak_memory_stats", ()),
    ("set_device", (0,)),
    ("manual_seed", (1,)),
    ("manual_seed_all", (1,)),
    ("get_rng_state", ()),
    ("get_device_name", (0,)),
    ("current_device", ()),
    ("device_count", ()),
    # From torch.cpu.
    ("synchronize", ()),
    ("is_available", ()),
    ("current_stream", ()),
]


@pytest.mark.parametrize("name, arguments", CALLS, ids=[name for name, _ in CALLS])
def test_members_of_the_device_module(name, arguments):
    getattr(CpuDeviceModule(), name)(*arguments)


def test_memory_is_in_bytes():
    module = CpuDeviceModule()
    free, total = module.mem_get_info()
    # A process with torch in it has more than 50 MB.
    assert 50e6 < module.memory_allocated() < total and 0 < free <= total


def test_random_state_comes_back():
    module = CpuDeviceModule()
    state = module.get_rng_state()
    first = torch.rand(3)
    module.set_rng_state(state)
    assert torch.equal(torch.rand(3), first)


def test_unknown_members_are_errors():
    with pytest.raises(AttributeError):
        _ = CpuDeviceModule().no_such_function


def test_platform():
    platform = PlatformCPU()
    assert platform.is_available() and platform.device_name == "cpu"
    assert platform.communication_backend_name() == "gloo"
    assert isinstance(platform.device_module, CpuDeviceModule)
    # Weights go through shared memory; Ray's logical resource has this name.
    assert platform.is_ipc_supported() is False and platform.ray_resource_name() == "GPU"
    # megatron-core seeds nothing on a machine with 0 devices.
    assert platform.device_count() == 1
    with platform.nvtx_range("step"):
        platform.synchronize()


def test_every_member_answers():
    """Nothing of verl's interface is left to raise NotImplementedError on the way."""
    platform = PlatformCPU()
    for name, arguments in {
        "vendor_name": None,
        "is_platform_available": (),
        "current_device": (),
        "set_device": (0,),
        "manual_seed": (1,),
        "manual_seed_all": (1,),
        "set_allocator_settings": ("",),
        "empty_cache": (),
        "get_device_capability": (),
        "visible_devices_envvar": (),
        "profiler_start": (),
        "profiler_stop": (),
        "ray_noset_envvars": (),
        "cudart": (),
    }.items():
        member = getattr(platform, name)
        if arguments is not None:
            member(*arguments)


def test_the_users_environment_wins_over_the_rollouts(monkeypatch):
    for name in ROLLOUT_ENV:
        monkeypatch.delenv(name, raising=False)
    assert PlatformCPU().rollout_env_vars() == ROLLOUT_ENV
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "4")
    assert PlatformCPU().rollout_env_vars() == ROLLOUT_ENV | {"VLLM_CPU_KVCACHE_SPACE": "4"}


def test_the_platform_is_not_registered_unasked():
    assert "cpu" not in PlatformRegistry.registered_names()
