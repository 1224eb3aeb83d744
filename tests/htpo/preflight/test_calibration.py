# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The memory plan against eleven published measurements; docs/cluster.md shows the same table."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from recipe.htpo.preflight.plan.architecture import QWEN3, Architecture
from recipe.htpo.preflight.plan.memory import (
    MemorySettings,
    kv_bytes_per_token,
    kv_cache_tokens,
    layer_activation_bytes,
    model_state,
    rollout_phase,
    rollout_weight_bytes,
)
from recipe.htpo.preflight.plan.plan import GIB
from recipe.htpo.preflight.plan.topology import Topology

DOCS = Path(__file__).resolve().parents[3] / "docs" / "cluster.md"

# config.json of the models that were measured.
QWEN25 = {
    name: Architecture(name, *sizes, vocab_size=vocab, tied_embeddings=tied, qkv_bias=True, qk_norm=False)
    for name, sizes, vocab, tied in (
        ("Qwen2.5-0.5B", (896, 24, 14, 2, 4864, 64), 151936, True),
        ("Qwen2.5-1.5B", (1536, 28, 12, 2, 8960), 151936, True),
        ("Qwen2.5-14B", (5120, 48, 40, 8, 13824), 152064, False),
        ("Qwen2.5-32B", (5120, 64, 40, 8, 27648), 152064, False),
    )
}
LLAMA_8B = Architecture("Llama-3.1-8B", 4096, 32, 32, 8, 14336, vocab_size=128256, qk_norm=False)
QWEN3_235B = Architecture(
    "Qwen3-235B-A22B", 4096, 94, 64, 4, 12288, num_experts=128, experts_per_token=8, moe_intermediate_size=1536
)
GENERATED = 2049


def served(name: str) -> float:
    """GiB of the weights and the keys and values of a sequence, one at a time."""
    model = QWEN25[name]
    return (rollout_weight_bytes(model, 2) + GENERATED * kv_bytes_per_token(model, 1)) / GIB


def forward(name: str) -> float:
    """GiB by which 16,384 more tokens of a prompt raise the peak: their keys and values, and one layer's tensors."""
    model = QWEN25[name]
    return 16384 * (kv_bytes_per_token(model, 1) + layer_activation_bytes(model)) / GIB


def cache(weight_bytes: int) -> float:
    """Thousands of tokens that vLLM's cache holds beside Qwen3-8B on one H100, at its default share of 0.9."""
    one = Topology("fsdp", 1, 1)
    settings = MemorySettings(0, 0, gpu_memory_utilization=0.9, rollout_weight_bytes=weight_bytes)
    model = QWEN3["Qwen3-8B"]
    return kv_cache_tokens(model, one, rollout_phase(model, one, settings)) / 1000


def saved_by_128_gpus() -> float:
    """GiB of weights, gradients and optimiser that FSDP has less of on 128 GPUs than on 8."""

    def state(nodes: int) -> float:
        found = model_state(LLAMA_8B, Topology("fsdp", nodes, 8), fp32_weights=True)
        return found.weights + found.gradients + found.optimizer

    return (state(1) - state(16)) / GIB


@dataclass(frozen=True)
class Point:
    what: str
    published: float
    estimate: float
    source: str
    # Per cent by which the estimate may be off.
    within: float

    @property
    def error(self) -> float:
        return 100 * (self.estimate / self.published - 1)


QWEN_DOCS = "Qwen2.5 docs, speed_benchmark.rst"
TITAN = "torchtitan, llama3_h100_202412"
SILY = "silybench-data, 2026-09-24"
POINTS = [
    Point("weights and 2,049 tokens, Qwen2.5-0.5B, GiB", 0.97, served("Qwen2.5-0.5B"), QWEN_DOCS, 3),
    Point("weights and 2,049 tokens, Qwen2.5-1.5B, GiB", 2.95, served("Qwen2.5-1.5B"), QWEN_DOCS, 1),
    Point("weights and 2,049 tokens, Qwen2.5-14B, GiB", 28.08, served("Qwen2.5-14B"), QWEN_DOCS, 1),
    Point("weights and 2,049 tokens, Qwen2.5-32B, GiB", 61.58, served("Qwen2.5-32B"), QWEN_DOCS, 1),
    Point(
        "KV cache of 8.11 GiB, Qwen3-235B-A22B on TP 4, 1,000 tokens",
        178.88,
        8.11 * GIB / kv_bytes_per_token(QWEN3_235B, 4) / 1000,
        "vllm#21348",
        1.5,
    ),
    Point("KV cache of an H100, Qwen3-8B in bf16, 1,000 tokens", 376.8, cache(2), SILY, 3),
    Point("KV cache of an H100, Qwen3-8B in fp8, 1,000 tokens", 430.1, cache(1), SILY, 3),
    Point("state on 8 less than on 128 GPUs, Llama-3.1-8B, FSDP2, GiB", 15.4, saved_by_128_gpus(), TITAN, 10),
    Point("the same with torch.compile, GiB", 15.0, saved_by_128_gpus(), TITAN, 10),
    # An upper limit: the backward pass keeps all of a layer, a forward pass not even that of one.
    Point("16,384 more tokens in a forward pass, Qwen2.5-14B, GiB", 4.90, forward("Qwen2.5-14B"), QWEN_DOCS, 30),
    Point("16,384 more tokens in a forward pass, Qwen2.5-32B, GiB", 7.16, forward("Qwen2.5-32B"), QWEN_DOCS, 30),
]


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.what)
def test_the_estimate_is_near(point):
    assert abs(point.error) < point.within, f"{point.error:+.1f} %"


def test_forward_passes_are_not_underestimated():
    assert all(point.error > 0 for point in POINTS if "forward" in point.what)


def test_the_table_in_the_docs_is_this_one():
    rows = re.findall(r"^\| (.+?) \| ([\d.,]+) \| ([\d.,]+) \| ([+-][\d.]+) % \| (.+?) \|$", DOCS.read_text(), re.M)
    assert rows == [
        (point.what, f"{point.published:g}", f"{point.estimate:.4g}", f"{point.error:+.1f}", point.source)
        for point in POINTS
    ]


def test_the_models_are_what_they_are_called():
    sizes = {"Qwen2.5-0.5B": 0.494, "Qwen2.5-1.5B": 1.544, "Qwen2.5-14B": 14.77, "Qwen2.5-32B": 32.76}
    for name, billions in sizes.items():
        assert QWEN25[name].parameters / 1e9 == pytest.approx(billions, rel=1e-3)
    assert LLAMA_8B.parameters / 1e9 == pytest.approx(8.03, rel=1e-3)
    assert QWEN3_235B.parameters / 1e9 == pytest.approx(235.09, rel=1e-3)
