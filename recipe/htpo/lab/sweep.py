# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""One table of a sweep (`scripts/sweep.sh`): every preset in the lab and on the real stack."""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from rich import box
from rich.table import Table

from recipe.htpo.lab.results import read_arms
from recipe.htpo.run.metrics_log import read_steps

COLUMNS = ("steps", "loss", "clipped %", "entropy change", "pass@1", "pass@8")
STACK_COLUMNS = ("steps", "loss", "clipped %", "entropy change", "pass rate")


def sweep_table(out: Path) -> Table:
    """A line per preset with a result in `out/lab` or `out/stack`, in Markdown.

    Losses and clip shares are means over the steps, as the preset's own loss defines them; the entropy change (nats per
    token) is that of the last step's batch against the first's. pass@1 and pass@8 are of the lab's held-out problems
    after the last step; the pass rate is that of the prompts generated for the last step on the stack.

    Raises SystemExit when there is no result, or the lab's are of several seeds.
    """
    arms = read_arms(out / "lab") if (out / "lab").is_dir() else {}
    found = {path.name: read_steps(path) for path in (out / "stack").glob("*/")}
    stack = {name: steps for name, steps in found.items() if steps}
    if not arms and not stack:
        raise SystemExit(f"{out} has no results (lab/, stack/): run scripts/sweep.sh with OUT={out} first")
    seeds = sorted({seed for runs in arms.values() for seed in runs})
    if len(seeds) > 1:
        raise SystemExit(f"{out / 'lab'} has results of the seeds {', '.join(map(str, seeds))}: a sweep is of one seed")
    table = Table(box=box.MARKDOWN, pad_edge=False)
    table.add_column("preset")
    for title in (*(f"lab: {name}" for name in COLUMNS), *(f"stack: {name}" for name in STACK_COLUMNS)):
        table.add_column(title, justify="right")
    for name in sorted(arms.keys() | stack.keys()):
        lab = _lab(*arms[name].values()) if name in arms else [""] * len(COLUMNS)
        steps = list(stack.get(name, {}).values())
        table.add_row(name, *lab, *(_stack(steps) if steps else [""] * len(STACK_COLUMNS)))
    return table


def _lab(run: Mapping[str, Any]) -> list[str]:
    steps = [record for record in run["steps"] if "loss" in record]
    last = run["steps"][-1]
    ended = " (collapsed)" if run["collapsed"] else ""
    return [f"{last['step']}{ended}", *_figures(steps, "loss", "clipped", "entropy")] + [
        f"{last[key]:.3f}" for key in ("pass@1", "pass@8")
    ]


def _stack(steps: list[dict[str, Any]]) -> list[str]:
    trained = [metrics for metrics in steps if "actor/pg_loss" in metrics]
    rate = trained[-1]["htpo/pass_rate_generated"]
    figures = _figures(trained, "actor/pg_loss", "actor/pg_clipfrac", "actor/entropy")
    return [str(len(trained)), *figures, f"{rate:.3f}"]


def _figures(steps: list[dict[str, Any]], loss: str, clipped: str, entropy: str) -> list[str]:
    """Loss, clip share and entropy change; a loss without a clip reports no share."""
    share = f"{100 * fmean(step[clipped] for step in steps):.2f}" if clipped in steps[0] else "-"
    return [f"{fmean(step[loss] for step in steps):.4f}", share, f"{steps[-1][entropy] - steps[0][entropy]:+.3f}"]
