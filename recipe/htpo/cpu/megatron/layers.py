# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The layers of a megatron-core transformer on a CPU, with Transformer Engine's parameter names.

On a GPU a layer's norm is fused into the linear layer after it (`linear_qkv.layer_norm_weight`); bridges and
checkpoints go by these names, so the torch layers here carry them too.
"""

from typing import Any

import torch
from megatron.core.models.backends import LocalSpecProvider
from megatron.core.tensor_parallel.layers import ColumnParallelLinear
from megatron.core.transformer.transformer_config import TransformerConfig
from torch.nn import functional

from recipe.htpo.cpu.megatron.attention import CausalAttention


def _require_plain_rms_norm(config: TransformerConfig) -> None:
    if config.normalization != "RMSNorm" or config.layernorm_zero_centered_gamma:
        raise ValueError(
            f"on a CPU megatron-core runs with RMSNorm only; this model has {config.normalization}, "
            f"zero-centred weight: {config.layernorm_zero_centered_gamma}"
        )


def _tag_sequence_parallel(weight: torch.nn.Parameter, config: TransformerConfig) -> None:
    """A norm sees its rank's share of the sequence only: megatron-core sums gradients of tagged weights over ranks."""
    weight.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]


class Norm(torch.nn.RMSNorm):
    """RMSNorm with the constructor of megatron-core's norms."""

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float = 1e-5) -> None:
        _require_plain_rms_norm(config)
        super().__init__(hidden_size, eps=eps, dtype=config.params_dtype)
        _tag_sequence_parallel(self.weight, config)


class NormColumnParallelLinear(ColumnParallelLinear):
    """RMSNorm, then a column-parallel linear layer; parameters `layer_norm_weight`, `weight`, `bias`."""

    def __init__(self, input_size: int, output_size: int, *, config: TransformerConfig, **kwargs: Any) -> None:
        _require_plain_rms_norm(config)
        super().__init__(input_size, output_size, config=config, **kwargs)
        self.layer_norm_weight = torch.nn.Parameter(torch.ones(input_size, dtype=config.params_dtype))
        _tag_sequence_parallel(self.layer_norm_weight, config)

    def forward(self, input_: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """`[S, B, hidden]` to the output of the linear layer and its bias, as megatron-core's linear layers do."""
        normed = functional.rms_norm(input_, (self.input_size,), self.layer_norm_weight, self.config.layernorm_epsilon)
        return super().forward(normed, *args, **kwargs)


class CpuSpecProvider(LocalSpecProvider):
    """Chooses the layers; stands where `TESpecProvider` stands (megatron/core/models/gpt/gpt_layer_specs.py)."""

    def fuse_layernorm_and_linear(self) -> bool:
        return True

    def column_parallel_layer_norm_linear(self) -> type:
        return NormColumnParallelLinear

    def layer_norm(self, rms_norm: bool = False, for_qk: bool = False) -> type:
        return Norm

    def core_attention(self) -> type:
        return CausalAttention
