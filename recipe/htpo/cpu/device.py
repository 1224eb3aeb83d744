# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""`torch.cpu` with the members of an accelerator module that verl calls."""

import types
from typing import Any

import psutil
import torch


class DeviceId(str):
    """The CPU as a device index.

    verl uses `get_device_id()` both as a device (`tensor.to(get_device_id())`, where an int would mean CUDA) and
    inside `f"{device_name}:{id}"` (verl/utils/fsdp_utils.py), where it has to read as an index.
    """

    def __new__(cls) -> "DeviceId":
        return super().__new__(cls, "cpu")

    def __format__(self, spec: str) -> str:
        return "0"

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (DeviceId, ())


def _resident_bytes(*_: Any) -> int:
    return psutil.Process().memory_info().rss


def _memory_info(*_: Any) -> tuple[int, int]:
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def _nothing(*_: Any, **__: Any) -> None:
    return None


class CpuDeviceModule(types.ModuleType):
    """Stands where `torch.cuda` stands; whatever it does not define comes from `torch.cpu`.

    Memory is reported in bytes: resident memory of this process as allocated, the machine's as free and total.
    """

    def __init__(self) -> None:
        super().__init__("torch_cpu_for_verl")
        self.memory_allocated = _resident_bytes
        self.memory_reserved = _resident_bytes
        self.max_memory_allocated = _resident_bytes
        self.max_memory_reserved = _resident_bytes
        self.mem_get_info = _memory_info
        self.empty_cache = _nothing
        self.ipc_collect = _nothing
        self.reset_peak_memory_stats = _nothing
        self.set_per_process_memory_fraction = _nothing
        self.set_device = _nothing
        self.manual_seed = torch.manual_seed
        self.manual_seed_all = torch.manual_seed
        self.get_rng_state = self._get_rng_state
        self.set_rng_state = self._set_rng_state
        self.get_device_name = lambda *_: "cpu"
        self.current_device = DeviceId
        self.device_count = lambda: 1

    @staticmethod
    def _get_rng_state(*_: Any) -> torch.Tensor:
        return torch.get_rng_state()

    @staticmethod
    def _set_rng_state(state: torch.Tensor, *_: Any) -> None:
        torch.set_rng_state(state)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cpu, name)
