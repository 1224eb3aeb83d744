# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Benchmarks against a peer in the same run: calls of the two alternate, the ratio is the median over pairs.

    python scripts/bench.py loss [--json FILE] [--device cuda] [--rows htpo dapo ...]
    python scripts/bench.py weights [--json FILE] [--device cuda] [--rows thr influence_vstar ...]

`loss`: all that the worker does with a micro-batch after the model (groups from their code, or the split where the
current policy's entropy makes it; loss, aggregation, metric sums, backward pass) against verl's `vanilla` loss with
its metrics, in fp32.

`weights`: each advantage transform with its metrics against the same `vanilla` loss; and the scores of one prompt's
tokens for THR and NTHR against what the old policy's pass does at the LM head with them: logits, and verl's
log-probabilities and entropy of these in chunks (fp32 on CPUs, bf16 states and weights elsewhere).

`peak_planes` is the largest memory in use during the call beyond the inputs, in units of one fp32 `[B, T]` tensor; for
scores, of one fp32 `[tokens, vocabulary]` tensor.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary
from verl.trainer.ppo.core_algos import agg_loss, get_policy_loss_fn
from verl.utils.torch_functional import entropy_from_logits_with_chunking, logprobs_from_logits
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
from recipe.htpo.objective.weights import (
    Head,
    PromptTokens,
    WeightBatch,
    WeightConfig,
    influence_scores,
    weight_names,
)

SHAPES = ((64, 4096), (32, 8192), (32, 1024))
CLIP = (0.2, 0.28, 10.0)
RESPONSES = 8
# Responses x their tokens, hidden size and vocabulary of the prompt that is scored: small, and Qwen3-0.6B's.
SCORED = {"cpu": (RESPONSES, 128, 256, 32768), "cuda": (RESPONSES, 1024, 1024, 151936)}
# Transforms that have no default for a parameter.
PARAMETERS = {"thr": {"p": 0.1}}
SCORE_OPTIONS: dict[str, dict[str, Any]] = {
    "influence_vstar": {},
    "influence_full": {"vocab": "full"},
    "influence_exclude_self": {"anchor_exclude_self": True},
}
Call = Callable[[], object]


class Row(NamedTuple):
    """A line of the table: two calls and the bytes of a plane."""

    name: str
    shape: str
    call: Call
    peer: Call
    plane: int
    against: str = "vanilla"
    """What the peer is: the row's `ratio_to_...`."""


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


def vanilla_call(data: dict[str, torch.Tensor]) -> Call:
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


def preset_call(name: str, data: dict[str, torch.Tensor]) -> Call:
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


def transform_call(name: str, data: dict[str, torch.Tensor]) -> Call:
    """Advantages and metrics of a transform, its scores given."""
    config = WeightConfig.from_mapping(name, PARAMETERS.get(name))
    rows = data["mask"].shape[0]
    old = {"old_log_prob": data["old"], "rollout_log_prob": data["log_prob"].detach(), "entropy": data["entropy"]}
    score = {"score": data["log_prob"].detach(), "anchor": torch.where(data["correct"], 0.1, torch.nan)}
    score["margin"] = data["log_prob"].detach()
    batch = WeightBatch(
        advantages=data["advantages"],
        response_mask=data["mask"],
        correct=data["correct"],
        prompt_index=torch.arange(rows, device=data["mask"].device) // RESPONSES,
        **{field: value for field, value in (old | score).items() if field in config.needs},
    )

    def call() -> object:
        advantages = config(batch)
        return advantages, config.metrics(batch, advantages)

    return call


def score_calls(options: dict[str, Any], device: torch.device) -> tuple[Call, Call, str, int]:
    """The scores of one prompt, the head's part of the old policy's pass over its tokens, their shape and plane."""
    responses, length, hidden_size, vocabulary = SCORED["cpu" if device.type == "cpu" else "cuda"]
    generator, dtype = torch.Generator().manual_seed(0), torch.float32 if device.type == "cpu" else torch.bfloat16
    tokens = responses * length
    hidden = torch.randn(tokens, hidden_size, generator=generator).to(device, dtype)
    weight = (0.3 * torch.randn(vocabulary, hidden_size, generator=generator)).to(device, dtype)
    # Half of the tokens are distinct, as in long answers to one problem.
    label = torch.randint(0, tokens // 2, (tokens,), generator=generator).to(device)
    response = torch.arange(responses, device=device).repeat_interleave(length)
    prompt = PromptTokens(hidden, label, response, torch.arange(responses, device=device) % 2 == 0)

    def scores() -> object:
        return influence_scores(prompt, Head(weight), length_normalised=True, **options)

    @torch.no_grad()
    def old_policy() -> object:
        logits = hidden @ weight.T
        return logprobs_from_logits(logits, label), entropy_from_logits_with_chunking(logits)

    return scores, old_policy, f"{tokens}x{vocabulary}", 4 * tokens * vocabulary


def loss_rows(device: torch.device) -> list[Row]:
    """verl's loss against itself, and every preset that trains with the table."""
    rows = []
    for shape in SHAPES:
        data = batch(*shape, device)
        vanilla, plane = vanilla_call(data), 4 * shape[0] * shape[1]
        calls = {"vanilla": vanilla_call(data)} | {name: preset_call(name, data) for name in _own_losses()}
        rows += [Row(name, "{}x{}".format(*shape), call, vanilla, plane) for name, call in calls.items()]
    return rows


def weight_rows(device: torch.device) -> list[Row]:
    """Every transform, and the scores that THR and NTHR need."""
    rows = []
    for name, options in SCORE_OPTIONS.items():
        scores, old_policy, shape, plane = score_calls(options, device)
        rows.append(Row(name, shape, scores, old_policy, plane, "lm_head"))
    for shape in SHAPES[:1]:
        data = batch(*shape, device)
        vanilla, plane = vanilla_call(data), 4 * shape[0] * shape[1]
        for name in weight_names():
            rows.append(Row(name, "{}x{}".format(*shape), transform_call(name, data), vanilla, plane))
    return rows


def measure(row: Row, repeats: int, device: torch.device) -> dict[str, Any]:
    """Milliseconds, ratio to the peer and memory of a row."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for index in range(repeats + 3):
        for call, times in zip((row.call, row.peer), seconds, strict=True):
            start = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if index >= 3:
                times.append(time.perf_counter() - start)
    with PeakMemory() as memory:
        row.call()
    ratio = statistics.median(ours / theirs for ours, theirs in zip(*seconds, strict=True))
    return {
        "name": row.name,
        "shape": row.shape,
        "ms": round(1000 * statistics.median(seconds[0]), 3),
        f"ratio_to_{row.against}": round(ratio, 3),
        "peak_planes": round(memory.peak / row.plane, 2),
    }


def _own_losses() -> list[str]:
    """Presets that train with the table, not with a loss of verl's."""
    return [name for name in preset_names() if "loss_mode" not in str(preset_settings(name))]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["loss", "weights"])
    parser.add_argument("--rows", nargs="*", help="names of the rows to time (default: all)")
    parser.add_argument("--repeats", type=int, default=20, help="measured pairs of calls")
    parser.add_argument("--device", default="cpu", help="torch device")
    parser.add_argument("--json", help="file to write the rows to")
    args = parser.parse_args(argv)
    if args.repeats < 1:
        parser.error(f"argument --repeats: must be at least 1, got {args.repeats}")
    # The file is written when all is measured.
    if args.json and not (directory := Path(args.json).absolute().parent).is_dir():
        parser.error(f"argument --json: there is no directory {directory}")
    try:
        device = torch.empty(0, device=args.device).device
    except (AssertionError, RuntimeError) as error:
        parser.error(f"argument --device: {args.device} cannot be used ({str(error).splitlines()[0]})")
    torch.set_num_threads(1)
    rows = (loss_rows if args.what == "loss" else weight_rows)(device)
    unknown = set(args.rows or ()) - {row.name for row in rows}
    if unknown:
        parser.error(f"no rows {', '.join(sorted(unknown))}; there are {', '.join({row.name: 0 for row in rows})}")
    print(f"{args.device}, 1 thread; ratio: to verl's vanilla loss, of influence_* to the old policy's LM head")
    print(f"{args.what:24}{'shape':>14}{'ms':>10}{'ratio':>12}{'peak planes':>14}")
    table = []
    for row in rows:
        if args.rows and row.name not in args.rows:
            continue
        result = measure(row, args.repeats, device)
        table.append(result)
        print("{:24}{:>14}{:>10.2f}{:>12.2f}{:>14}".format(*result.values()), flush=True)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(table, file, indent=1)


if __name__ == "__main__":
    main()
