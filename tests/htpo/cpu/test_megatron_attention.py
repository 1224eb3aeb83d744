# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Attention of the Megatron engine on a CPU; context parallelism with two processes is in tests/htpo/engines."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.transformer.enums import AttnMaskType

from recipe.htpo.cpu.megatron.attention import CausalAttention, zigzag_order

ONE_RANK = SimpleNamespace(size=lambda: 1, rank=lambda: 0)


def attention(dropout=0.0, mask_type=AttnMaskType.causal, scale=None):
    return CausalAttention(
        SimpleNamespace(attention_dropout=dropout),
        layer_number=1,
        attn_mask_type=mask_type,
        attention_type="self",
        softmax_scale=scale,
        pg_collection=SimpleNamespace(cp=ONE_RANK),
    )


def reference(query, key, value, scale=None):
    """Causal attention of one sequence by its definition: `[L, heads, d]`, keys and values `[L, groups, d]`."""
    repeat = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(repeat, 1), value.repeat_interleave(repeat, 1)
    scores = torch.einsum("ihd,jhd->hij", query, key) * (scale or 1 / math.sqrt(query.shape[-1]))
    hidden = torch.ones(len(query), len(query), dtype=torch.bool).triu(1)
    return torch.einsum("hij,jhd->ihd", scores.masked_fill(hidden, -torch.inf).softmax(-1), value).flatten(1)


def heads(length, groups, seed):
    return torch.randn(length, groups, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("scale", [None, 0.1])
@pytest.mark.parametrize("lengths", [[5], [1, 1], [3, 7, 1, 4]])
def test_packed_attention_is_that_of_each_sequence(lengths, scale):
    total = sum(lengths)
    query, key, value = heads(total, 4, 0), heads(total, 2, 1), heads(total, 2, 2)
    boundaries = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    packed = PackedSeqParams(qkv_format="thd", cu_seqlens_q=boundaries, cu_seqlens_q_padded=boundaries)
    output = attention(scale=scale)(query, key, value, None, packed_seq_params=packed)
    split = [tensor.split(lengths) for tensor in (query, key, value)]
    expected = torch.cat([reference(*rows, scale=scale) for rows in zip(*split, strict=True)])
    torch.testing.assert_close(output, expected)


def test_padded_attention_is_that_of_each_sequence():
    query, key, value = (
        torch.stack([heads(6, groups, seed + row) for row in range(3)], dim=1)
        for groups, seed in ((4, 0), (2, 10), (2, 20))
    )
    output = attention()(query, key, value, attention_mask=torch.ones(3, 6, dtype=torch.bool))
    assert output.shape == (6, 3, 32) and output.is_contiguous()
    for row in range(3):
        torch.testing.assert_close(output[:, row], reference(query[:, row], key[:, row], value[:, row]))


def test_what_the_cpu_cannot_do_is_refused():
    with pytest.raises(ValueError, match="attention_dropout must be 0"):
        attention(dropout=0.1)
    with pytest.raises(ValueError, match="only causal attention"):
        attention(mask_type=AttnMaskType.no_mask)


@given(st.integers(1, 4), st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_zigzag_order_undoes_the_split_over_ranks(size, halves):
    lengths = [2 * size * half for half in halves]
    tokens = torch.arange(sum(lengths))
    shares = []
    for rank in range(size):
        for sequence in tokens.split(lengths):
            chunks = sequence.chunk(2 * size)
            shares += [chunks[rank], chunks[2 * size - 1 - rank]]
    assert torch.equal(torch.cat(shares)[zigzag_order(torch.tensor(lengths), size)], tokens)
