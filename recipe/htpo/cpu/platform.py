# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The CPU as a verl platform (verl/plugin/platform/platform_base.py)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry

from recipe.htpo.cpu.device import CpuDeviceModule, DeviceId
from recipe.htpo.cpu.rollout_env import ROLLOUT_ENV


class PlatformCPU(PlatformBase):
    """One logical accelerator per Ray "GPU"; collectives over gloo; weights move through POSIX shared memory."""

    def __init__(self) -> None:
        self._module = CpuDeviceModule()

    @property
    def device_name(self) -> str:
        return "cpu"

    @property
    def vendor_name(self) -> str:
        return "cpu"

    @property
    def device_module(self) -> ModuleType:
        return self._module

    def is_available(self) -> bool:
        return True

    def current_device(self) -> Any:
        return DeviceId()

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None:
        return None

    def synchronize(self, device_index: int | None = None) -> None:
        return None

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        return None

    def empty_cache(self) -> None:
        return None

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def profiler_start(self) -> None:
        return None

    def profiler_stop(self) -> None:
        return None

    def ray_resource_name(self) -> str:
        # A logical resource (`ray.init(num_gpus=N)`): the only name that verl's worker groups take without a patch.
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        return False

    def rollout_env_vars(self) -> dict[str, str]:
        return {name: os.environ.get(name, value) for name, value in ROLLOUT_ENV.items()}

    def cudart(self) -> Any:
        return None


def register() -> None:
    """Register the platform under the name `cpu`, and let verl find the engines it registered for accelerators."""
    PlatformRegistry.register(platform="cpu")(PlatformCPU)
    # verl's own override (verl/workers/engine/base.py, get_engine_cls): FSDP2 and Megatron engines carry no CPU key.
    os.environ.setdefault("VERL_ENGINE_DEVICE", "cuda")
