# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A comparison as Markdown, for a page of the project: what happened in training, pass@k, and differences."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from recipe.htpo.compare.analysis import Arm, Comparison, Population, by_band, decisions_at, detectable
from recipe.htpo.compare.runs import CompareError, Run
from recipe.htpo.evaluation import Estimate, difference
from recipe.htpo.run.record import write_atomic


def write_into(file: Path, name: str, comparison: Comparison) -> None:
    """Put the tables between `<!-- compare: NAME -->` and `<!-- end: NAME -->` of a Markdown file.

    Raises:
        CompareError: there is no such file, or it has no such place.
        OSError: it cannot be written, and is as it was.
    """
    begin, end = f"<!-- compare: {name} -->", f"<!-- end: {name} -->"
    remedy = f"write the lines {begin} and {end} where the tables belong"
    if not file.is_file():
        raise CompareError(file, "there is no such file", remedy)
    before, found, rest = file.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise CompareError(file, f"has no place for {name}", remedy)
    write_atomic(file, f"{before}{begin}\n{tables(comparison)}\n{end}{after}".encode())


def tables(comparison: Comparison) -> str:
    """Three tables for each source, on all its prompts; notes below."""
    parts = []
    for found in comparison.populations:
        if found.name != "all":
            continue
        ks = _shown(found.ks)
        fewer = [f"`{arm}` {curve.ks[-1]}" for arm, curve in found.curves.items() if curve.ks != found.ks]
        but = f" ({', '.join(fewer)})" if fewer else ""
        parts.append(f"{found.source}: {len(found.prompts)} held-out prompts, {found.ks[-1]} samples each{but}.")
        parts.append(_arms(comparison, found, ks))
        if changes := _changes(comparison, found):
            parts.append("Change from before training, in points, 95 % interval (of one run: for other prompts alone):")
            parts.append(changes)
        if found.differences:
            baseline = comparison.baseline_on(found.source)
            parts.append(f"Difference to `{baseline}` in points, 95 % interval, Holm's p over the arms:")
            parts.append(_differences(found, ks))
    return "\n\n".join([*parts, *(f"Note: {note}." for note in comparison.notes)])


def _shown(ks: Sequence[int]) -> list[int]:
    """The smallest, the middle and the largest budget."""
    return sorted({ks[0], ks[len(ks) // 2], ks[-1]})


def _arms(comparison: Comparison, found: Population, ks: Sequence[int]) -> str:
    rows = []
    if found.start is not None:
        rows.append(["before training", *[""] * 6, *(_value(found.start, k) for k in ks)])
    for arm in comparison.arms:
        if arm.name in found.curves:
            runs = arm.evaluated(found.source)
            ended = sum(bool(run.note) for run in runs)
            shares = [_share(runs, name) for name in ("replaced", "treated", "clipped")]
            values = [_value(found.curves[arm.name], k) for k in ks]
            rows.append([f"`{arm.name}`", str(len(runs)), *shares, _entropy(arm), str(ended or ""), *values])
    head = ["arm", "seeds", "replaced %", "treated unlike PPO %", "clipped %", "entropy, first and last batch"]
    return _table([*head, "ended early", *(f"pass@{k}" for k in ks)], rows)


def _changes(comparison: Comparison, found: Population) -> str:
    """Every run against its own model before training, at every budget."""
    rows = []
    for arm in comparison.arms:
        pairs = [
            (run.evaluations[run.last_step][found.source].take(found.prompts), start.take(found.prompts))
            for run in arm.evaluated(found.source)
            if run.last_step and (start := run.evaluations.get(0, {}).get(found.source))
            if set(found.prompts) <= set(start.prompts)
        ]
        if pairs:
            least = min(outcomes.least_samples for pair in pairs for outcomes in pair)
            ks = [k for k in found.ks if k <= least]
            change = difference([after for after, _ in pairs], [before for _, before in pairs], ks)
            cells = [_points(change.value[i], change.low[i], change.high[i]) for i in range(len(ks))]
            cells += ["-"] * (len(found.ks) - len(ks))
            rows.append([f"`{arm.name}`", str(len(pairs)), *cells])
    return _table(["arm", "runs", *(f"pass@{k}" for k in found.ks)], rows) if rows else ""


def _points(value: float, low: float, high: float) -> str:
    return f"{100 * value:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def _differences(found: Population, ks: Sequence[int]) -> str:
    decisions = {k: decisions_at(found, k) for k in ks}
    rows = []
    for arm, estimate in found.differences.items():
        cells = []
        for k in ks:
            if (one := decisions[k].get(arm)) is None:
                cells.append("-")
                continue
            cells.append(f"{_points(one.value, one.low, one.high)}, p {one.adjusted_p_value:.2g}: **{one.verdict}**")
        rows.append([f"`{arm}`", found.pairing[arm], *cells, by_band(estimate), detectable(estimate, ks[0])])
    head = ["arm", "pairing", *(f"pass@{k}" for k in ks), "by its own band over all k"]
    return _table([*head, f"smallest pass@{ks[0]} difference found with 80 %, alone"], rows)


def _share(runs: Sequence[Run], name: str) -> str:
    """Mean over the steps, then over the runs, in percent."""
    means = [fmean(run.curves[name].values()) for run in runs if run.curves.get(name)]
    return f"{100 * fmean(means):.2f}" if means else "-"


def _entropy(arm: Arm) -> str:
    curves = [run.curves["entropy"] for run in arm.runs if run.curves.get("entropy")]
    if not curves:
        return "-"
    first, last = (fmean(curve[end(curve)] for curve in curves) for end in (min, max))
    return f"{first:.3f}, {last:.3f}"


def _value(estimate: Estimate, k: int) -> str:
    if k not in estimate.ks:
        return "-"
    i = estimate.at(k)
    return f"{estimate.value[i]:.3f} ({estimate.low[i]:.3f} to {estimate.high[i]:.3f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
