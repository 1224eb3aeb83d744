# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Time of the objective against verl's vanilla loss on the same tensors, in the same run.

    python -m recipe.htpo.objective.benchmark [--device cuda] [--rows 32] [--tokens 8192]

Prints, per preset, the median over the repetitions of: the partition; the token loss with aggregation and backward
pass; the metric sums; and the ratios of the loss, and of partition and loss together, to vanilla (loss, aggregation
and backward pass).
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from verl.trainer.ppo.core_algos import agg_loss, get_policy_loss_fn
from verl.workers.config import FSDPActorConfig

from recipe.htpo.objective.loss import token_loss
from recipe.htpo.objective.metrics import group_sums, sums_to_floats
from recipe.htpo.objective.partition import partition
from recipe.htpo.objective.presets import load_preset, preset_names

_CLIP_LOW, _CLIP_HIGH, _CLIP_C = 0.2, 0.28, 10.0


def median_ms(function: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Median wall time of `function` in milliseconds, after two unmeasured calls."""
    times = []
    for index in range(repeats + 2):
        start = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if index >= 2:
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=32, help="responses in the batch")
    parser.add_argument("--tokens", type=int, default=8192, help="padded response length")
    parser.add_argument("--repeats", type=int, default=20, help="measured repetitions")
    parser.add_argument("--device", default="cpu", help="torch device")
    parser.add_argument("--preset", nargs="*", default=preset_names(), choices=preset_names(), help="presets to time")
    args = parser.parse_args()

    device = torch.device(args.device)
    generator = torch.Generator().manual_seed(0)
    shape = (args.rows, args.tokens)

    def normal() -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device)

    lengths = torch.randint(args.tokens // 4, args.tokens + 1, (args.rows, 1), generator=generator).to(device)
    mask = (torch.arange(args.tokens, device=device) < lengths).float()
    old_log_prob = -normal().abs()
    log_prob = (old_log_prob + 0.2 * normal()).requires_grad_()
    entropy = normal().abs()
    hard = torch.arange(args.rows, device=device) % 2 == 0
    correct = torch.arange(args.rows, device=device) % 4 < 2
    advantages = torch.where(correct, 1.0, -1.0)[:, None].expand(shape).contiguous()

    actor = FSDPActorConfig(
        strategy="fsdp",
        rollout_n=1,
        ppo_micro_batch_size_per_gpu=1,
        clip_ratio_low=_CLIP_LOW,
        clip_ratio_high=_CLIP_HIGH,
        clip_ratio_c=_CLIP_C,
    )
    vanilla = get_policy_loss_fn("vanilla")

    def vanilla_step() -> None:
        loss, _ = vanilla(old_log_prob, log_prob, advantages, mask, "token-mean", actor)
        torch.autograd.grad(loss, log_prob)

    reference = median_ms(vanilla_step, args.repeats, device)
    print(f"{args.rows} x {args.tokens} float32 on {device}, {torch.get_num_threads()} threads")
    print(f"vanilla loss + backward: {reference:.2f} ms")
    print(f"{'preset':24}{'partition':>12}{'loss':>10}{'sums':>10}{'loss/vanilla':>15}{'both/vanilla':>15}")
    for name in args.preset:
        config = load_preset(name)
        groups = partition(entropy, mask, hard, correct, config)
        output = token_loss(log_prob, old_log_prob, advantages, mask, groups, config, _CLIP_LOW, _CLIP_HIGH, _CLIP_C)

        def partition_step(config=config) -> None:
            partition(entropy, mask, hard, correct, config)

        def loss_step(config=config, groups=groups) -> None:
            output = token_loss(
                log_prob, old_log_prob, advantages, mask, groups, config, _CLIP_LOW, _CLIP_HIGH, _CLIP_C
            )
            torch.autograd.grad(agg_loss(output.loss, mask, "token-mean"), log_prob)

        def sums_step(groups=groups, output=output) -> None:
            sums_to_floats(group_sums(groups, output, advantages, mask, entropy, log_prob.detach()))

        split, loss, sums = (median_ms(step, args.repeats, device) for step in (partition_step, loss_step, sums_step))
        ratios = f"{loss / reference:15.2f}{(split + loss) / reference:15.2f}"
        print(f"{name:24}{split:10.2f}ms{loss:8.2f}ms{sums:8.2f}ms{ratios}")


if __name__ == "__main__":
    main()
