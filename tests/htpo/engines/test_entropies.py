# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Other ways in which verl computes the entropy by which tokens are grouped: which are equal, and which are not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from megatron.core import parallel_state
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

TOKENS, HIDDEN, VOCAB = 37, 16, 101


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states `[T, H]`, the output layer `[V, H]` and chosen tokens `[T]`; sharp and flat distributions."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(TOKENS, HIDDEN, generator=generator) * torch.linspace(0.1, 4, TOKENS)[:, None]
    weights = torch.randn(VOCAB, HIDDEN, generator=generator)
    return hidden, weights, torch.randint(VOCAB, (TOKENS,), generator=generator)


def by_logits(hidden: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The definition, `-sum p log p` in float64."""
    log_probs = (hidden @ weights.t()).double().log_softmax(-1)
    return -(log_probs.exp() * log_probs).sum(-1).float()


def test_the_fused_kernels_entropy_is_equal_in_fp32_and_rounded_in_bf16(inputs):
    """The reason for which the preflight refuses `use_fused_kernels` on GPUs: verl/utils/experimental/
    torch_functional.py, `_fused_linear_for_ppo_fwd`, hands the entropy back in the hidden states' dtype."""
    from verl.utils.experimental.torch_functional import FusedLinearForPPO

    hidden, weights, chosen = inputs
    log_probs, entropy = FusedLinearForPPO(chunk_size=8)(hidden, weights, chosen)
    expected = by_logits(hidden, weights)
    torch.testing.assert_close(entropy, expected, rtol=1e-5, atol=1e-5)
    reference = (hidden @ weights.t()).log_softmax(-1).gather(-1, chosen[:, None])[:, 0]
    torch.testing.assert_close(log_probs, reference, rtol=1e-5, atol=1e-5)
    _, rounded = FusedLinearForPPO(chunk_size=8)(hidden.bfloat16(), weights.bfloat16(), chosen)
    assert rounded.dtype is torch.bfloat16


@pytest.fixture
def one_rank(tmp_path: Path) -> Iterator[None]:
    """Megatron's groups in this process."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", world_size=1, rank=0)
    parallel_state.initialize_model_parallel()
    yield
    parallel_state.destroy_model_parallel()
    dist.destroy_process_group()


def test_megatrons_entropy_in_chunks_is_that_of_all_tokens_at_once(inputs, one_rank):
    """Which is what the Megatron layouts use for the old policy: no copy of vocabulary size beside the logits."""
    from verl.utils.megatron.tensor_parallel import vocab_parallel_entropy, vocab_parallel_entropy_with_chunking

    hidden, weights, _ = inputs
    logits = (hidden @ weights.t())[None]
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        whole = vocab_parallel_entropy(logits.clone())
        for chunk_size in (1, 8, 64):
            chunks = vocab_parallel_entropy_with_chunking(logits.clone(), chunk_size=chunk_size)
            torch.testing.assert_close(whole, chunks, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(whole[0], by_logits(hidden, weights), rtol=1e-4, atol=1e-5)


class LargestTensor(TorchDispatchMode):
    """Elements of the largest tensor that operations make; views of `given` are none."""

    def __init__(self, given: torch.Tensor) -> None:
        super().__init__()
        self._given = given.untyped_storage().data_ptr()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for made in tree_leaves(result):
            if isinstance(made, torch.Tensor) and made.untyped_storage().data_ptr() != self._given:
                self.elements = max(self.elements, made.numel())
        return result


def test_entropies_in_chunks_make_nothing_of_vocabulary_size_for_all_tokens(inputs, one_rank):
    """Of both engines' old-policy pass in the layouts; the same without chunks do."""
    from verl.utils.megatron.tensor_parallel import vocab_parallel_entropy_with_chunking
    from verl.utils.torch_functional import entropy_from_logits, entropy_from_logits_with_chunking

    hidden, weights, _ = inputs
    logits, chunk_size = (hidden @ weights.t())[None], 8
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        with LargestTensor(logits) as megatron:
            vocab_parallel_entropy_with_chunking(logits, chunk_size=chunk_size)
        with LargestTensor(logits) as fsdp:
            entropy_from_logits_with_chunking(logits[0], chunk_size=chunk_size)
        with LargestTensor(logits) as whole:
            entropy_from_logits(logits[0])
    assert megatron.elements <= chunk_size * VOCAB >= fsdp.elements and whole.elements == TOKENS * VOCAB
