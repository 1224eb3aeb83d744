# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Causal attention for megatron-core on a CPU: padded and packed layouts, with or without context parallelism.

Stands where Transformer Engine's `TEDotProductAttention` stands on a GPU. megatron-core's own `DotProductAttention`
refuses packed sequences and reads the attention mask the other way round.
"""

import torch
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.tensor_parallel import gather_from_sequence_parallel_region
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig
from torch.nn import functional


class CausalAttention(MegatronModule):
    """Scaled dot-product attention over causal, right-padded sequences.

    Queries `[S, B, heads, d]`, keys and values `[S, B, groups, d]` (padded), or `[T, heads, d]` and `[T, groups, d]`
    with the boundaries in `packed_seq_params` (packed). Under context parallelism of size c a rank holds chunks r and
    2c-1-r of each sequence (verl/models/mcore/util.py, layout "zigzag"): all ranks gather the whole sequences, and each
    keeps its own chunks of the result.
    """

    def __init__(
        self,
        config: TransformerConfig,
        layer_number: int,
        attn_mask_type: AttnMaskType,
        attention_type: str,
        cp_comm_type: str | None = None,
        softmax_scale: float | None = None,
        pg_collection: ProcessGroupCollection | None = None,
    ) -> None:
        super().__init__(config=config)
        if config.attention_dropout:
            raise ValueError("override_transformer_config.attention_dropout must be 0 on a CPU")
        if attn_mask_type is not AttnMaskType.causal:
            raise ValueError(f"only causal attention is supported on a CPU, not {attn_mask_type}")
        if pg_collection is None:
            pg_collection = ProcessGroupCollection.use_mpu_process_groups(required_pgs=["cp"])
        self.softmax_scale = softmax_scale
        self.cp_group = pg_collection.cp

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        attn_mask_type: AttnMaskType | None = None,
        attention_bias: torch.Tensor | None = None,
        packed_seq_params: PackedSeqParams | None = None,
    ) -> torch.Tensor:
        """Attend; returns `[S, B, heads * d]` (padded) or `[T, heads * d]` (packed).

        `attention_mask` is not needed: padding is on the right, where no query that counts can see it.
        """
        if packed_seq_params is None:
            length, batch_size = query.shape[0] * self.cp_group.size(), query.shape[1]
            lengths = torch.full((batch_size,), length)
            packed = [tensor.transpose(0, 1).flatten(0, 1) for tensor in (query, key, value)]
            output = self._attend(packed, lengths)
            return output.unflatten(0, (batch_size, -1)).transpose(0, 1).flatten(2).contiguous()
        boundaries = packed_seq_params.cu_seqlens_q_padded
        if boundaries is None:
            boundaries = packed_seq_params.cu_seqlens_q
        return self._attend([query, key, value], boundaries.diff().long()).flatten(1)

    def _attend(self, packed: list[torch.Tensor], lengths: torch.Tensor) -> torch.Tensor:
        """Causal attention of packed `[T / c, heads, d]` tensors; `lengths` `[B]` are those of whole sequences."""
        size, rank = self.cp_group.size(), self.cp_group.rank()
        if size > 1:
            order = zigzag_order(lengths, size)
            packed = [
                gather_from_sequence_parallel_region(tensor.contiguous(), group=self.cp_group)[order]
                for tensor in packed
            ]
        # One padded row per sequence; padding is on the right, so the causal mask hides it.
        positions = torch.arange(int(lengths.max()))
        valid = positions < lengths[:, None]
        query, key, value = (_to_rows(tensor, valid).transpose(1, 2) for tensor in packed)
        output = functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=self.softmax_scale, enable_gqa=True
        )
        output = output.transpose(1, 2)[valid]
        if size > 1:
            output = output[torch.argsort(order).unflatten(0, (size, -1))[rank]]
        return output


def zigzag_order(lengths: torch.Tensor, size: int) -> torch.Tensor:
    """Where each token of the whole sequences lies when the ranks' shares are put one after the other.

    Args:
        lengths: `[B]` int64, tokens of each sequence, multiples of 2 * size.
        size: ranks of the context-parallel group.

    Returns:
        `[T]` int64: `gathered[zigzag_order(...)]` has the sequences in their natural order.
    """
    total = int(lengths.sum())
    sequence = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    starts = lengths.cumsum(0) - lengths
    position = torch.arange(total) - starts[sequence]
    chunk_length = (lengths // (2 * size))[sequence]
    chunk = position // chunk_length
    second = chunk >= size
    rank = torch.where(second, 2 * size - 1 - chunk, chunk)
    local = (starts // size)[sequence] + second * chunk_length + position % chunk_length
    return rank * (total // size) + local


def _to_rows(packed: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """`[T, heads, d]` to `[B, S, heads, d]` where `valid` `[B, S]` has T true entries."""
    rows = packed.new_zeros(*valid.shape, *packed.shape[1:])
    return rows.masked_scatter(valid[..., None, None], packed)
