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
    """megatron-core and mbridge create tensors on the CUDA device, in a hundred places.

    For instance megatron/core/pipeline_parallel/schedules.py:596 and mbridge/core/util.py:323.
    """
    if getattr(module, "torch", None) is torch:
        module.torch = _torch_on_cpu  # type: ignore[attr-defined]


def tensors_stay(module: ModuleType) -> None:
    """megatron-core and mbridge call `.cuda()` on tensors and modules, which without an accelerator can only fail.

    megatron/core/models/common/embeddings/rope_utils.py:64 (context parallelism), mbridge/core/util.py:151 and
    megatron/core/models/common/language_module/language_module.py:244 (tied embeddings with a pipeline).
    """
    torch.Tensor.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign]


def cpu_random_state(module: ModuleType) -> None:
    """megatron/core/tensor_parallel/random.py:55 (and `_set_cuda_rng_state`) uses a CUDA device's generator."""
    module._get_cuda_rng_state = lambda *args, **kwargs: torch.get_rng_state()  # type: ignore[attr-defined]
    module._set_cuda_rng_state = lambda state, *args, **kwargs: torch.set_rng_state(state)  # type: ignore[attr-defined]
    # It warns at each use that the CPU's generator has moved: here that is the one that is meant to.
    logging.getLogger(module.__name__).setLevel(logging.ERROR)


def torch_layers(module: ModuleType) -> None:
    """megatron/core/models/gpt/gpt_layer_specs.py:46 imports these two names only with Transformer Engine."""
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
    """megatron/core/optimizer/distrib_optimizer.py:420 (and 361, 582) sorts parameters by the name of a CUDA type.

    verl/utils/megatron/optimizer.py builds the optimiser from the model: its parameters then answer as on a GPU.
    """
    original = module.get_megatron_optimizer

    @functools.wraps(original)
    def get_megatron_optimizer(model: list[torch.nn.Module], config: Any, **kwargs: Any) -> Any:
        for chunk in model:
            for parameter in chunk.parameters():
                parameter.type = functools.partial(_cuda_type, parameter.dtype)  # type: ignore[assignment]
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
    """megatron/core/optimizer/distrib_optimizer.py:825, `DistributedOptimizer` with torch's AdamW.

    `state_dict`, which a load into a fresh engine begins with, asserts that AdamW has taken a step. `load_state_dict`
    copies into fp32 parameters that require gradients, and loses AdamW's `step` among the moments or gives it to all
    parameters as one tensor, which AdamW then advances once per parameter: a resumed run would silently differ.
    """
    original_state_dict = module.DistributedOptimizer.state_dict
    original_load = module.DistributedOptimizer.load_state_dict

    @functools.wraps(original_state_dict)
    def state_dict(self: Any) -> dict[str, Any]:
        if not self.optimizer.state:
            for group in self.optimizer.param_groups:
                for parameter in group["params"]:
                    moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
                    self.optimizer.state[parameter] = {"step": torch.tensor(0.0), **moments}
        return original_state_dict(self)

    @functools.wraps(original_load)
    def load_state_dict(self: Any, state_dict: dict[str, Any]) -> None:
        with torch.no_grad():
            original_load(self, state_dict)
        (step,) = {group["step"] for group in state_dict["optimizer"]["param_groups"]}
        for state in self.optimizer.state.values():
            state["step"] = torch.tensor(float(step))

    module.DistributedOptimizer.state_dict = state_dict
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
