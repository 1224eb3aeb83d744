# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Results of lab runs: paired differences as a table, and curves."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich import box
from rich.table import Table

from recipe.htpo.pictures import pyplot

Arms = dict[str, dict[int, dict[str, Any]]]
"""Results by arm and seed."""


def read_result(path: Path) -> dict[str, Any]:
    """The result of a run. Raises SystemExit where it is damaged, or none: names the file, the field, the remedy."""
    remedy = "delete it, and run the lab again"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path}: cannot be read ({error}); {remedy}") from error
    for name, kind in (("start", dict), ("steps", list), ("collapsed", bool | str)):
        if not isinstance(result, dict) or not isinstance(result.get(name), kind):
            raise SystemExit(f"{path}: has no field {name}, or another kind of it; {remedy}")
    for name in ("step", "evaluated", "pass@1", "pass@8"):
        if not all(isinstance(record, dict) and name in record for record in result["steps"]):
            raise SystemExit(f"{path}: has an element of steps without a field {name}; {remedy}")
    return result


def read_arms(out: Path) -> Arms:
    """All `out/ARM/seed_N.json`. Raises SystemExit when there is none, or one is no result."""
    arms: Arms = {}
    for path in sorted(out.glob("*/seed_*.json")):
        seed = path.stem.removeprefix("seed_")
        if not seed.removeprefix("-").isdecimal():
            raise SystemExit(f"{path}: a result is named seed_N.json, N a number; rename it, or delete it")
        arms.setdefault(path.parent.name, {})[int(seed)] = result = read_result(path)
        if not any(record["evaluated"] == record["step"] for record in result["steps"]):
            raise SystemExit(f"{path}: has no step that was evaluated; delete it, and run the lab again")
    if not arms:
        raise SystemExit(f"{out} has no results (ARM/seed_N.json): run `python -m recipe.htpo.lab run` first")
    return {name: dict(sorted(runs.items())) for name, runs in arms.items()}


def results_table(arms: Arms, baseline: str, evaluations: int = 1) -> Table:
    """One line per arm, in Markdown: pass@1 and pass@8, differences with the baseline's, and what happened.

    A run's pass@k is the mean of its last `evaluations`: more of them are less noisy, and look further back.
    """
    table = Table(box=box.MARKDOWN, pad_edge=False)
    table.add_column("arm")
    titles = ("seeds", "pass@1 / pass@8 by seed", "pass@1", "pass@8", "pass@1 - baseline", "pass@8 - baseline")
    for title in (*titles, "replaced %", "treated unlike PPO %", "clipped %", "collapsed"):
        table.add_column(title, justify="right")
    finals = {name: {seed: _final(run, evaluations) for seed, run in runs.items()} for name, runs in arms.items()}
    reference = finals.get(baseline, {})
    for name, runs in arms.items():
        last = finals[name]
        table.add_row(
            name,
            str(len(runs)),
            " ".join(f"{record['pass@1']:.3f}/{record['pass@8']:.3f}" for record in last.values()),
            *(f"{fmean(record[key] for record in last.values()):.3f}" for key in ("pass@1", "pass@8")),
            *("" if name == baseline else _difference(last, reference, key) for key in ("pass@1", "pass@8")),
            *(_percent(runs.values(), key) for key in ("replaced", "treated", "clipped")),
            f"{sum(bool(run['collapsed']) for run in runs.values())} of {len(runs)}",
        )
    return table


def is_measured(record: Mapping[str, Any], key: str) -> bool:
    """Whether a step has that figure of its own: without a mixed prompt it trained on nothing."""
    return key in record and (record.get("mixed") != 0 or key == "train_pass_rate")


def _percent(runs: Iterable[dict[str, Any]], key: str) -> str:
    """Mean over the steps, then over the runs."""
    figures = ([record[key] for record in run["steps"] if is_measured(record, key)] for run in runs)
    means = [fmean(values) for values in figures if values]
    return f"{100 * fmean(means):.2f}" if means else "-"


def _final(run: dict[str, Any], evaluations: int) -> dict[str, float]:
    evaluated = [record for record in run["steps"] if record["evaluated"] == record["step"]][-evaluations:]
    return {key: fmean(record[key] for record in evaluated) for key in ("pass@1", "pass@8")}


def _difference(finals: dict[int, dict[str, float]], reference: dict[int, dict[str, float]], key: str) -> str:
    """Mean and standard error, in points, over the seeds that both have."""
    points = [100 * (final[key] - reference[seed][key]) for seed, final in finals.items() if seed in reference]
    if not points:
        return "-"
    error = f" +- {stdev(points) / len(points) ** 0.5:.1f}" if len(points) > 1 else ""
    return f"{fmean(points):+.1f}{error} ({len(points)})"


def plot(arms: Arms, file: Path) -> None:
    """Mean over the seeds that got so far, and its standard error: accuracy as evaluated, entropy, replaced tokens."""
    plt = pyplot()
    figure, axes = plt.subplots(2, 2, figsize=(11, 7), sharex=True, layout="constrained")
    keys = ("pass@1", "pass@8", "entropy", "replaced")
    for axis, key in zip(axes.flat, keys, strict=True):
        for name, runs in arms.items():
            points: dict[int, list[float]] = {}
            for run in runs.values():
                if key.startswith("pass"):
                    points.setdefault(0, []).append(run["start"][key])
                for record in run["steps"]:
                    if record["evaluated"] == record["step"] if key.startswith("pass") else is_measured(record, key):
                        points.setdefault(record["step"], []).append(record[key])
            steps = sorted(points)
            means = [fmean(points[step]) for step in steps]
            errors = [stdev(points[s]) / len(points[s]) ** 0.5 if len(points[s]) > 1 else 0.0 for s in steps]
            axis.plot(steps, means, marker="o" if key.startswith("pass") else "", markersize=3, label=name)
            low, high = ([m + sign * e for m, e in zip(means, errors, strict=True)] for sign in (-1, 1))
            axis.fill_between(steps, low, high, alpha=0.15)
        axis.set_title(key)
    axes[0, 0].legend(fontsize="small")
    figure.savefig(file, dpi=120)
    plt.close(figure)
