# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The module `torch` as megatron-core and mbridge see it on a CPU: `"cuda"` means the CPU.

Both ask for `device="cuda"` and `torch.cuda.current_device()` in a hundred places. The global `torch` of their modules
is pointed at `TorchOnCpu()`; torch itself is not touched.
"""

import functools
import types
from collections.abc import Callable
from typing import Any

import torch

from recipe.htpo.cpu.device import CpuDeviceModule

FACTORIES = (
    "arange",
    "empty",
    "full",
    "ones",
    "rand",
    "randint",
    "randn",
    "tensor",
    "zeros",
    "empty_like",
    "zeros_like",
)


def _on_cpu(factory: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    @functools.wraps(factory)
    def create(*args: Any, **kwargs: Any) -> torch.Tensor:
        if str(kwargs.get("device", "")).startswith("cuda"):
            kwargs["device"] = "cpu"
        # Pinning needs an accelerator.
        kwargs.pop("pin_memory", None)
        return factory(*args, **kwargs)

    return create


class TorchOnCpu(types.ModuleType):
    """`torch`, except that factories make CPU tensors and `cuda` is the CPU's device module."""

    def __init__(self) -> None:
        super().__init__("torch")
        self.cuda = CpuDeviceModule()
        for name in FACTORIES:
            setattr(self, name, _on_cpu(getattr(torch, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)
