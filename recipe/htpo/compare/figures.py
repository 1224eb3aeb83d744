# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of a comparison, as PNG. Arms differ by colour, brightness, line and marker, so grey is enough."""

from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from recipe.htpo.compare.analysis import STRATA, Comparison, Population, mean_curve
from recipe.htpo.compare.runs import CURVES, Run
from recipe.htpo.evaluation import Estimate
from recipe.htpo.objective import CELL_NAMES
from recipe.htpo.pictures import pyplot

plt = pyplot()
DPI = 110
# Dark to light in turns, so that neighbours differ in grey.
COLOURS = ("#111111", "#d55e00", "#0072b2", "#8c6d00", "#cc79a7", "#009e73", "#56b4e9", "#7a3b8f", "#e69f00", "#888888")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
# Not as many as colours, so that the eleventh arm is not drawn as the first.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
TRAINING = ("accuracy", "train_accuracy", "entropy", "length", "replaced", "clipped")
GROUPS = tuple(f"group{group}" for group in range(1, 9))


def draw(comparison: Comparison, directory: Path) -> dict[str, Path]:
    """Write all pictures that the runs have data for; `title -> file`."""
    styles = {arm.name: _style(index) for index, arm in enumerate(comparison.arms)}
    pictures: dict[str, Path] = {}
    for source in dict.fromkeys(population.source for population in comparison.populations):
        chosen = [found for found in comparison.populations if found.source == source]
        stem = "".join(letter if letter.isalnum() else "_" for letter in source)
        whole = [found for found in chosen if found.name in ("all", "clean")]
        if len(whole[0].ks) > 1:
            _save(_pass_curves(whole, styles), pictures, f"pass@k after training, {source}", directory, f"pass_{stem}")
            if any(found.differences for found in whole):
                figure = _differences(whole, styles, comparison)
                title = f"difference to {comparison.baseline_on(source)}, {source}"
                _save(figure, pictures, title, directory, f"difference_{stem}")
        if thirds := [found for found in chosen if found.name in STRATA[2] + STRATA[3]]:
            title = f"pass@1 by difficulty of the starting model, {source}"
            _save(_by_tercile(thirds, styles), pictures, title, directory, f"terciles_{stem}")
    for title, names, stem, columns in (
        ("training", TRAINING, "training", 3),
        ("tokens by group", GROUPS, "groups", 4),
    ):
        present = [name for name in names if any(run.curves.get(name) for run in comparison.runs)]
        if present:
            figure = _curves(comparison, present, styles, columns)
            _save(
                figure,
                pictures,
                f"{title}: means over the runs that got so far (thick), and single runs",
                directory,
                stem,
            )
    return pictures


def _style(index: int) -> dict[str, Any]:
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": LINES[index % len(LINES)],
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 5,
    }


def _save(figure: Figure, pictures: dict[str, Path], title: str, directory: Path, stem: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    # Sources may have one stem, as a/b and a-b have.
    taken = {file.stem for file in pictures.values()}
    free = next(name for name in chain([stem], (f"{stem}_{number}" for number in count(2))) if name not in taken)
    pictures[title] = directory / f"{free}.png"
    figure.savefig(pictures[title], dpi=DPI)
    plt.close(figure)


def _panels(count: int, columns: int, height: float = 3.4) -> tuple[Figure, list[Axes]]:
    rows = -(-count // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(min(4.6 * columns, 13), height * rows + 1.0), layout="constrained", squeeze=False
    )
    for axis in axes.flat[count:]:
        axis.remove()
    return figure, list(axes.flat[:count])


def _legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend for all panels, below them."""
    entries = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    longest = max((len(label) for label in entries), default=1)
    columns = max(1, min(len(entries), int(figure.get_figwidth() * 11 / (longest + 7))))
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns, fontsize="small")


def _budget_axis(axis: Axes, ks: Sequence[int]) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks(list(ks))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.minorticks_off()
    axis.set_xlabel("k (samples)")
    axis.grid(alpha=0.3)


def _banded(axis: Axes, found: Estimate, style: dict[str, Any], label: str, scale: float = 1.0) -> None:
    axis.plot(found.ks, scale * found.value, label=label, **style)
    low, high = scale * found.band_low, scale * found.band_high
    axis.fill_between(found.ks, low, high, alpha=0.13, color=style["color"], linewidth=0)


def _pass_curves(populations: Sequence[Population], styles: dict[str, dict[str, Any]]) -> Figure:
    figure, axes = _panels(len(populations), len(populations) if len(populations) < 3 else 2, height=4.6)
    figure.set_figwidth(max(8.0, figure.get_figwidth()))
    for axis, found in zip(axes, populations, strict=True):
        if found.start is not None:
            start: dict[str, Any] = {"color": "#999999", "linestyle": "-", "linewidth": 3, "alpha": 0.8}
            axis.plot(found.start.ks, found.start.value, label="before training", **start)
        for arm, curve in found.curves.items():
            _banded(axis, curve, styles[arm], arm)
        axis.set(title=f"{found.source}, {found.name} ({len(found.prompts)} prompts)", ylabel="pass@k", ylim=(0, 1))
        _budget_axis(axis, found.ks)
    _legend(figure, axes)
    return figure


def _differences(
    populations: Sequence[Population], styles: dict[str, dict[str, Any]], comparison: Comparison
) -> Figure:
    """An arm whose runs all ended early is left out: it would leave no room for the others."""
    ended = {arm.name for arm in comparison.arms if all(run.note for run in arm.runs)}
    if all(arm in ended for found in populations for arm in found.differences):
        ended = set()
    figure, axes = _panels(len(populations), len(populations) if len(populations) < 3 else 2, height=4.6)
    figure.set_figwidth(max(8.0, figure.get_figwidth()))
    for axis, found in zip(axes, populations, strict=True):
        axis.axhline(0, color="#111111", linewidth=1)
        for arm, curve in found.differences.items():
            if arm not in ended:
                _banded(axis, curve, styles[arm], arm, scale=100)
        title = f"{found.source}, {found.name} ({len(found.prompts)} prompts)"
        if left := [arm for arm in found.differences if arm in ended]:
            title += f"\nnot drawn, ended early: {', '.join(left)}"
        axis.set(title=title, ylabel=f"points above {comparison.baseline_on(found.source)}")
        _budget_axis(axis, found.ks)
    _legend(figure, axes)
    return figure


def _by_tercile(populations: Sequence[Population], styles: dict[str, dict[str, Any]]) -> Figure:
    """pass@1 before (bar) and after (point with its interval) on each third."""
    figure, (axis,) = _panels(1, 1, height=4.4)
    figure.set_figwidth(max(8.0, 3.2 * len(populations)))
    arms = list(dict.fromkeys(arm for found in populations for arm in found.curves))
    for place, found in enumerate(populations):
        if found.start is not None:
            label = "before training" if place == 0 else None
            axis.bar(place, found.start.value[0], width=0.86, color="#dddddd", label=label, zorder=0)
        for index, arm in enumerate(arms):
            if arm in found.curves:
                curve, x = found.curves[arm], place + 0.8 * ((index + 0.5) / len(arms) - 0.5)
                value = curve.value[0]
                ends = [[value - curve.low[0]], [curve.high[0] - value]]
                style = styles[arm] | {"linestyle": "none"}
                axis.errorbar(x, value, yerr=ends, capsize=3, label=arm if place == 0 else None, **style)
    axis.set_xticks(range(len(populations)), [f"{found.name}\n({len(found.prompts)} prompts)" for found in populations])
    axis.set(ylabel="pass@1, 95 % interval", ylim=(0, 1))
    axis.grid(axis="y", alpha=0.3)
    _legend(figure, [axis])
    return figure


def _curves(comparison: Comparison, names: Sequence[str], styles: dict[str, dict[str, Any]], columns: int) -> Figure:
    figure, axes = _panels(len(names), min(columns, len(names)))
    figure.set_figwidth(max(8.0, figure.get_figwidth()))
    for axis, name in zip(axes, names, strict=True):
        for arm in comparison.arms:
            drawn: list[Run] = [run for run in arm.runs if run.curves.get(name)]
            for run in drawn if len(drawn) > 1 else ():
                curve = run.curves[name]
                colour = styles[arm.name]["color"]
                axis.plot(list(curve), list(curve.values()), color=colour, alpha=0.25, linewidth=0.7)
            if drawn:
                mean = mean_curve(drawn, name)
                style = styles[arm.name] | {"markersize": 4, "markevery": max(1, len(mean) // 8)}
                axis.plot(list(mean), list(mean.values()), label=arm.name, linewidth=1.8, **style)
        title = f"{name[5:]} {CELL_NAMES[int(name[5:]) - 1].replace('_', ' ')}" if name in GROUPS else CURVES[name]
        axis.set_title(title, fontsize="medium")
        axis.set_xlabel("step")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axis.grid(alpha=0.3)
    _legend(figure, axes)
    return figure
