# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The page of a comparison: one HTML file with its pictures inside."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from recipe.htpo.compare.analysis import Comparison, Population, by_band, detectable, different_settings
from recipe.htpo.compare.runs import Run
from recipe.htpo.evaluation import Estimate

_HERE = Path(__file__).resolve().parent


def page(title: str, comparison: Comparison, pictures: Mapping[str, Path]) -> str:
    """HTML without network: tables, and the pictures as data."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    arms = [arm.name for arm in comparison.arms]
    return environment.get_template("page.html.jinja").render(
        title=title,
        baseline=comparison.baseline,
        notes=comparison.notes,
        contaminated=comparison.contaminated,
        populations=[
            {"title": f"{found.source}, {found.name}", "prompts": len(found.prompts), "ks": ends(found), "rows": rows}
            for found in comparison.populations
            if (rows := results(comparison, found))
        ],
        runs=[(arm.name, run, _last(run)) for arm in comparison.arms for run in arm.runs],
        arms=arms,
        settings={
            name: ["; ".join(values.get(arm, ["-"])) for arm in arms]
            for name, values in different_settings(comparison.runs).items()
        },
        pictures={name: base64.b64encode(path.read_bytes()).decode() for name, path in pictures.items()},
    )


def ends(found: Population) -> list[int]:
    """Smallest and largest budget."""
    return sorted({found.ks[0], found.ks[-1]})


def results(comparison: Comparison, found: Population) -> list[dict[str, Any]]:
    """A row per arm: its runs, pass@k with intervals, difference to the baseline; before training first.

    `whole` says what the band says of the difference, and which one would have been found.
    """
    rows: list[dict[str, Any]] = []
    if found.start is not None:
        values = [_interval(found.start, k) for k in ends(found)]
        none = {"differences": ["" for _ in values], "whole": ["", ""]}
        rows.append({"arm": "before training", "seeds": "", "values": values} | none)
    for arm in comparison.arms:
        if arm.name not in found.curves:
            continue
        rows.append(
            {
                "arm": arm.name,
                "seeds": len(arm.evaluated(found.source)),
                "values": [_interval(found.curves[arm.name], k) for k in ends(found)],
                "differences": [_difference(comparison, found, arm.name, k) for k in ends(found)],
                "whole": _whole(found, arm.name),
            }
        )
    return rows


def _difference(comparison: Comparison, found: Population, arm: str, k: int) -> str:
    if arm == comparison.baseline_on(found.source):
        return "baseline"
    if arm not in found.decisions.get(k, {}):
        return "-"
    decision = found.decisions[k][arm]
    return (
        f"{100 * decision.value:+.1f} ({100 * decision.low:+.1f} to {100 * decision.high:+.1f}), "
        f"p {decision.adjusted_p_value:.2g}: {decision.verdict}; {found.pairing[arm]}"
    )


def _whole(found: Population, arm: str) -> list[str]:
    if (estimate := found.differences.get(arm)) is None:
        return ["", ""]
    return [by_band(estimate), detectable(estimate, found.ks[0])]


def _interval(found: Estimate, k: int) -> str:
    if k not in found.ks:
        return "-"
    i = found.at(k)
    return f"{found.value[i]:.3f} ({found.low[i]:.3f} to {found.high[i]:.3f})"


def _last(run: Run) -> list[str]:
    """Last step, and pass@1 before and after by source."""
    steps = [step for curve in run.curves.values() for step in curve] + list(run.evaluations)
    parts = []
    for source, outcomes in sorted((run.evaluations[run.last_step] if run.evaluations else {}).items()):
        after = f"{outcomes.pass_at((1,)).mean():.3f}"
        before = run.evaluations[run.first_step].get(source) if run.first_step < run.last_step else None
        parts.append(f"{source}: {f'{before.pass_at((1,)).mean():.3f} to ' if before else ''}{after}")
    return [str(max(steps)), "; ".join(parts) or "no evaluation by prompt"]
