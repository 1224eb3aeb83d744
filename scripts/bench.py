# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Benchmarks against a peer in the same run.

    python scripts/bench.py loss [--json FILE] [--device cuda] [--preset htpo dapo ...]

`loss`: all that the worker does with a micro-batch after the model (groups from their code, or the split where the
current policy's entropy makes it; loss, aggregation, metric sums, backward pass) against verl's `vanilla` loss with
its metrics, in fp32. Calls of the two alternate; the ratio is the median over pairs. `peak_planes` is the largest
memory in use during the call beyond the inputs, in units of one fp32 `[B, T]` tensor.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary
from verl.trainer.ppo.core_algos import agg_loss, get_policy_loss_fn
from verl.workers.config import FSDPActorConfig

from recipe.htpo.objective import (
    TokenGroups,
    group_sums,
    load_preset,
    partition,
    preset_names,
    preset_settings,
    token_loss,
)

SHAPES = ((64, 4096), (32, 8192), (32, 1024))
CLIP = (0.2, 0.28, 10.0)


class PeakMemory(TorchDispatchMode):
    """Largest number of bytes in storages that operations made and that are alive at one time."""

    def __init__(self) -> None:
        super().__init__()
        self._alive: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self._alive[storage] = storage.nbytes()
        self.peak = max(self.peak, sum(self._alive.values()))
        return result


def batch(rows: int, tokens: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Responses of a quarter to the whole width, in all eight groups, with ratios on both sides of the clip range."""
    generator = torch.Generator().manual_seed(0)

    def normal() -> torch.Tensor:
        return torch.randn(rows, tokens, generator=generator).to(device)

    lengths = torch.randint(tokens // 4, tokens + 1, (rows, 1), generator=generator).to(device)
    correct = torch.arange(rows, device=device) % 4 < 2
    old_log_prob = -normal().abs()
    return {
        "mask": torch.arange(tokens, device=device) < lengths,
        "old": old_log_prob,
        "log_prob": (old_log_prob + 0.2 * normal()).requires_grad_(),
        "entropy": normal().abs(),
        "hard": torch.arange(rows, device=device) % 2 == 0,
        "correct": correct,
        "advantages": torch.where(correct, 1.0, -1.0)[:, None].expand(rows, tokens).contiguous(),
    }


def vanilla_call(data: dict[str, torch.Tensor]) -> Callable[[], object]:
    """verl's loss with its metrics and the backward pass."""
    low, high, c = CLIP
    actor = FSDPActorConfig(
        strategy="fsdp",
        rollout_n=1,
        ppo_micro_batch_size_per_gpu=1,
        clip_ratio_low=low,
        clip_ratio_high=high,
        clip_ratio_c=c,
    )
    vanilla = get_policy_loss_fn("vanilla")

    def call() -> object:
        loss, metrics = vanilla(data["old"], data["log_prob"], data["advantages"], data["mask"], "token-mean", actor)
        return torch.autograd.grad(loss, data["log_prob"]), metrics

    return call


def preset_call(name: str, data: dict[str, torch.Tensor]) -> Callable[[], object]:
    """What the worker does for a preset."""
    config = load_preset(name)
    verdicts = data["hard"], data["correct"]
    code = partition(data["entropy"], data["mask"], *verdicts, config).code
    current = data["entropy"] if config.entropy_source == "current" else None

    def call() -> object:
        groups = TokenGroups(code) if current is None else partition(current, data["mask"], *verdicts, config)
        output = token_loss(data["log_prob"], data["old"], data["advantages"], data["mask"], groups, config, *CLIP)
        loss = agg_loss(output.loss, data["mask"], "token-mean")
        sums = group_sums(output, entropy=current)
        del output
        return torch.autograd.grad(loss, data["log_prob"]), sums

    return call


def measure(name: str, rows: int, tokens: int, repeats: int, device: torch.device) -> dict[str, Any]:
    """One row of the table."""
    data = batch(rows, tokens, device)
    calls = (preset_call(name, data) if name != "vanilla" else vanilla_call(data), vanilla_call(data))
    seconds: tuple[list[float], list[float]] = ([], [])
    for index in range(repeats + 3):
        for call, times in zip(calls, seconds, strict=True):
            start = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if index >= 3:
                times.append(time.perf_counter() - start)
    with PeakMemory() as memory:
        calls[0]()
    return {
        "name": name,
        "shape": f"{rows}x{tokens}",
        "ms": round(1000 * statistics.median(seconds[0]), 3),
        "ratio_to_vanilla": round(statistics.median(ours / theirs for ours, theirs in zip(*seconds, strict=True)), 3),
        "peak_planes": round(memory.peak / (4 * rows * tokens), 1),
    }


def _own_losses() -> list[str]:
    """Presets that train with the table, not with a loss of verl's."""
    return [name for name in preset_names() if "loss_mode" not in str(preset_settings(name))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["loss"])
    parser.add_argument("--preset", nargs="*", default=["vanilla", *_own_losses()], help="rows to time")
    parser.add_argument("--repeats", type=int, default=20, help="measured pairs of calls")
    parser.add_argument("--device", default="cpu", help="torch device")
    parser.add_argument("--json", help="file to write the rows to")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"fp32 on {args.device}, 1 thread")
    print(f"{'preset':24}{'shape':>10}{'ms':>10}{'/ vanilla':>12}{'peak planes':>14}")
    table = []
    for rows, tokens in SHAPES:
        for name in args.preset:
            row = measure(name, rows, tokens, args.repeats, torch.device(args.device))
            table.append(row)
            print(
                f"{name:24}{row['shape']:>10}{row['ms']:>10.2f}{row['ratio_to_vanilla']:>12.2f}{row['peak_planes']:>14}",
                flush=True,
            )
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(table, file, indent=1)


if __name__ == "__main__":
    main()
