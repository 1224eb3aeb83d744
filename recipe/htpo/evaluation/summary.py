# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What an evaluation says: a table by data source, and the comparison of two models on the same prompts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from rich import box
from rich.table import Table

from recipe.htpo.evaluation.comparison import Decision, band_verdicts, decide, difference, pass_curve
from recipe.htpo.evaluation.intervals import Estimate
from recipe.htpo.evaluation.outcomes import Outcomes
from recipe.htpo.evaluation.pass_at_k import MAX_VOTES, maj_at_k
from recipe.htpo.evaluation.store import read_outcomes
from recipe.htpo.pictures import pyplot


def results_table(path: Path) -> Table:
    """One line per data source: pass@1 (avg@n) with its 95 % interval, pass@n, maj@n, lengths."""
    outcomes = read_outcomes(path)
    columns = ["data_source", "id", "acc", "pred", "response_tokens", "finish_reason"]
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in pq.read_table(path, columns=columns).to_pylist():
        rows.setdefault(row["data_source"], []).append(row)
    table = Table(title=str(path), box=box.SIMPLE, pad_edge=False, caption="cut: responses that reached max_tokens")
    headings = ("source", "prompts", "n", "pass@1 (avg@n)", "95 % interval", "pass@k", "maj@n", "tokens", "cut")
    for name in headings:
        table.add_column(name, justify="left" if name == "source" else "right")
    for source, found in outcomes.items():
        curve = pass_curve([found]) if len(found) > 1 else None
        interval = f"{curve.low[0]:.3f} to {curve.high[0]:.3f}" if curve else "one prompt"
        n = found.least_samples
        values = found.pass_at((1, n)).mean(0)
        table.add_row(
            source,
            str(len(found)),
            str(n),
            f"{values[0]:.3f}",
            interval,
            f"{values[1]:.3f} (k={n})",
            f"{_majority(rows[source]):.3f}" if n <= MAX_VOTES else "-",
            f"{np.mean([row['response_tokens'] for row in rows[source]]):.0f}",
            f"{100 * np.mean([row['finish_reason'] == 'length' for row in rows[source]]):.1f} %",
        )
    return table


def _majority(rows: list[dict[str, Any]]) -> float:
    """Mean over prompts of maj@n."""
    by_prompt: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_prompt.setdefault(row["id"], []).append(row)
    return float(
        np.mean(
            [
                maj_at_k([row["pred"] for row in votes], [row["acc"] > 0.5 for row in votes], (len(votes),))[0]
                for votes in by_prompt.values()
            ]
        )
    )


def compare_files(path: Path, baseline: Path) -> dict[str, Estimate]:
    """Difference of pass@k by data source, paired by prompt; raises ValueError where the prompts are others."""
    ours, theirs = read_outcomes(path), read_outcomes(baseline)
    if ours.keys() != theirs.keys():
        raise ValueError(f"{path} has {', '.join(ours)}, {baseline} has {', '.join(theirs)}: evaluate the same data")
    return {source: difference([found], [theirs[source]]) for source, found in ours.items() if len(found) > 1}


def comparison_table(differences: Mapping[str, Estimate]) -> Table:
    """One line per data source: difference at k=1, p-value after Holm over the sources, verdicts there and over k."""
    table = Table(
        title="difference of the two models, paired by prompt",
        box=box.SIMPLE,
        pad_edge=False,
        caption="tied: cannot be told from chance; detectable: what would be found with 80 %",
    )
    headings = ("source", "pass@1 (points)", "95 % interval", "p (Holm)", "verdict", "detectable", "over k (band)")
    for name in headings:
        table.add_column(name, justify="left" if name in ("source", "over k (band)") else "right")
    for source, decision in decide(differences).items():
        found = differences[source]
        table.add_row(
            source,
            f"{100 * decision.value:+.1f}",
            f"{100 * decision.low:+.1f} to {100 * decision.high:+.1f}",
            _p_value(decision),
            decision.verdict,
            f"{100 * found.detectable[0]:.1f}",
            ", ".join(f"{k}: {verdict}" for k, verdict in band_verdicts(found).items()),
        )
    return table


def _p_value(decision: Decision) -> str:
    return f"{decision.adjusted_p_value:.3f}" if decision.adjusted_p_value >= 0.001 else "< 0.001"


def draw(curves: Mapping[str, Outcomes], path: Path, title: str) -> Path:
    """pass@k of several models with their bands: a PNG at `path`. Lines differ in stroke too, for grey."""
    figure, axis = _axes(title, "pass@k")
    for (name, outcomes), stroke in zip(curves.items(), ("-", "--", "-.", ":"), strict=False):
        curve = pass_curve([outcomes])
        line = axis.plot(curve.ks, curve.value, stroke, marker="o", markersize=4, label=name)[0]
        axis.fill_between(curve.ks, curve.band_low, curve.band_high, alpha=0.2, color=line.get_color(), linewidth=0)
    axis.set_ylim(0, 1)
    axis.legend()
    return _save(figure, path)


def draw_difference(found: Estimate, path: Path, title: str) -> Path:
    """Difference over k in points, its intervals as bars and its band as an area: a PNG at `path`."""
    figure, axis = _axes(title, "difference of pass@k (points)")
    axis.axhline(0, color="black", linewidth=0.8)
    axis.fill_between(
        found.ks, 100 * found.band_low, 100 * found.band_high, alpha=0.2, linewidth=0, label="95 % band over all k"
    )
    bars = 100 * np.stack([found.value - found.low, found.high - found.value])
    axis.errorbar(found.ks, 100 * found.value, bars, fmt="o-", capsize=4, label="95 % interval at each k")
    axis.legend()
    return _save(figure, path)


def _axes(title: str, label: str) -> Any:
    plt = pyplot()
    from matplotlib.ticker import StrMethodFormatter

    figure, axis = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
    axis.set(xlabel="k (samples)", ylabel=label, title=title)
    axis.grid(alpha=0.3)
    return figure, axis


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=110)
    pyplot().close(figure)
    return path
