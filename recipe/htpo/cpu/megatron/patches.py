# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What has to be replaced in megatron-core 0.16, mbridge 0.15 and verl's Megatron engine on a CPU.

One function each, with place and reason. `tests/htpo/cpu/test_megatron_patches.py` has one test per patch that fails
when the original no longer needs it.
"""

import functools
import logging
from types import ModuleType
from typing import Any

import torch

from recipe.htpo.cpu.megatron.torch_stand_in import TorchOnCpu

_torch_on_cpu = TorchOnCpu()


def cuda_means_cpu(module: ModuleType) -> None:
    """megatron-core and mbridge create tensors with `device="cuda"` and on `torch.cuda.current_device()`."""
    if getattr(module, "torch", None) is torch:
        module.torch = _torch_on_cpu  # type: ignore[attr-defined]


def tensors_stay(module: ModuleType) -> None:
    """megatron/core/models/common/embeddings/rope_utils.py:64, language_module.py:244, mbridge/core/util.py:151.

    They call `.cuda()` on tensors and modules, which without an accelerator can only fail.
    """
    torch.Tensor.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign]


def cpu_random_state(module: ModuleType) -> None:
    """megatron/core/tensor_parallel/random.py:38,67 read and write the generator of a CUDA device."""
    module._get_cuda_rng_state = lambda *args, **kwargs: torch.get_rng_state()  # type: ignore[attr-defined]
    module._set_cuda_rng_state = lambda state, *args, **kwargs: torch.set_rng_state(state)  # type: ignore[attr-defined]
    # It warns at each use that the CPU's generator has moved: here that is the one that is meant to.
    logging.getLogger(module.__name__).setLevel(logging.ERROR)


def torch_layers(module: ModuleType) -> None:
    """megatron/core/models/gpt/gpt_layer_specs.py:42-50 knows these two names only with Transformer Engine."""
    from recipe.htpo.cpu.megatron.layers import CpuSpecProvider, Norm

    module.TESpecProvider = CpuSpecProvider  # type: ignore[attr-defined]
    module.TENorm = Norm  # type: ignore[attr-defined]


def _cuda_type(dtype: torch.dtype) -> str:
    return {
        torch.float32: "torch.cuda.FloatTensor",
        torch.float16: "torch.cuda.HalfTensor",
        torch.bfloat16: "torch.cuda.BFloat16Tensor",
    }[dtype]


def parameters_say_cuda(module: ModuleType) -> None:
    """megatron/core/optimizer/distrib_optimizer.py:361,420,582 sort parameters by `param.type()`, a CUDA type's name.

    verl/utils/megatron/optimizer.py builds the optimiser from the model: its parameters then answer as on a GPU.
    """
    original = module.get_megatron_optimizer

    @functools.wraps(original)
    def get_megatron_optimizer(model: list[torch.nn.Module], config: Any, **kwargs: Any) -> Any:
        for chunk in model:
            for parameter in chunk.parameters():
                parameter.type = functools.partial(_cuda_type, parameter.dtype)  # type: ignore[method-assign]
        return original(model, config, **kwargs)

    module.get_megatron_optimizer = get_megatron_optimizer  # type: ignore[attr-defined]


def torch_clips(module: ModuleType) -> None:
    """megatron/core/optimizer/clip_grads.py:167 asserts that gradients are `torch.cuda.FloatTensor`.

    The optimiser module holds the function by name. torch's own uses the same factor, max_norm / (norm + 1e-6).
    """

    def clip_grad_by_total_norm_fp32(
        parameters: Any, max_norm: float, total_norm: float, use_decoupled_grad: bool = False
    ) -> None:
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, torch.tensor(total_norm))

    module.clip_grad_by_total_norm_fp32 = clip_grad_by_total_norm_fp32  # type: ignore[attr-defined]


def resumable_optimizer(module: ModuleType) -> None:
    """megatron/core/optimizer/distrib_optimizer.py, `DistributedOptimizer.load_state_dict`, with torch's AdamW.

    It copies into fp32 parameters that require gradients, and gives all parameters one and the same `step` tensor,
    which AdamW then advances once per parameter: a resumed run would silently take other steps.
    """
    original = module.DistributedOptimizer.load_state_dict

    @functools.wraps(original)
    def load_state_dict(self: Any, state_dict: dict[str, Any]) -> None:
        with torch.no_grad():
            original(self, state_dict)
        for state in self.optimizer.state.values():
            state["step"] = state["step"].clone()

    module.DistributedOptimizer.load_state_dict = load_state_dict


def float32_engine(module: ModuleType) -> None:
    """verl/workers/config/engine.py:218 allows bfloat16 and float16 only; both are 20 times slower on a CPU."""
    original = module.McoreEngineConfig.__post_init__

    @functools.wraps(original)
    def __post_init__(self: Any) -> None:
        dtype = self.dtype
        if dtype == "float32":
            object.__setattr__(self, "dtype", "bfloat16")
        original(self)
        object.__setattr__(self, "dtype", dtype)

    module.McoreEngineConfig.__post_init__ = __post_init__
