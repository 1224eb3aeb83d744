# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m recipe.htpo.run.report OUTPUT_DIR`: what a run reached, as a table and a picture of its curves."""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from recipe.htpo.objective import CELL_NAMES
from recipe.htpo.run.metrics_log import Steps, read_steps, validation_accuracy
from recipe.htpo.run.supervise import STATS_FILE

CURVES_FILE = "curves.png"
PHASES_FILE = "phases.tsv"
# Hue: hard-correct, hard-wrong, easy-correct, easy-wrong; dark: low entropy, light: high entropy.
GROUP_COLOURS = ("#08519c", "#6baed6", "#a50f15", "#fb6a4a", "#006d2c", "#74c476", "#54278f", "#9e9ac8")


def main() -> int:
    """Print the table and write `OUTPUT_DIR/curves.png`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output_dir", type=Path, help="output directory of a run")
    output_dir = parser.parse_args().output_dir
    steps = read_steps(output_dir)
    if not steps:
        print(f"{output_dir}: no metrics of a run there; give the run's htpo.output_dir", file=sys.stderr)
        return 2
    curves = draw_curves(steps, output_dir / CURVES_FILE)
    console = Console()
    console.print(accuracy_table(steps))
    console.print(time_table(steps, output_dir))
    console.print(f"curves: {curves}", soft_wrap=True)
    console.print(f"metrics: {output_dir / 'metrics'}   checkpoints: {output_dir / 'checkpoints'}", soft_wrap=True)
    return 0


def accuracy_table(steps: Steps) -> Table:
    """Held-out accuracy (mean@n) before, best and after, and the training pass rate at both ends."""
    table = Table(title="accuracy")
    for name in ("measure", "before", "best", "after", "gain (points)"):
        table.add_column(name, justify="left" if name == "measure" else "right")
    curves: dict[str, dict[int, float]] = {}
    for step, metrics in steps.items():
        for source, accuracy in validation_accuracy(metrics).items():
            curves.setdefault(f"held-out {source}, mean@n", {})[step] = accuracy
        if "htpo/pass_rate" in metrics:
            curves.setdefault("training prompts, pass rate", {})[step] = metrics["htpo/pass_rate"]
    for name, curve in sorted(curves.items()):
        values = list(curve.values())
        gain = 100 * (values[-1] - values[0])
        table.add_row(name, *(f"{value:.3f}" for value in (values[0], max(values), values[-1])), f"{gain:+.1f}")
    table.caption = f"steps {min(steps)} to {max(steps)}"
    return table


def time_table(steps: Steps, output_dir: Path) -> Table:
    """Wall time per phase of the command, of the mean training step, and peak memory."""
    table = Table(title="time and memory")
    table.add_column("phase")
    table.add_column("value", justify="right")
    phases = output_dir / PHASES_FILE
    if phases.exists():
        for line in phases.read_text(encoding="utf-8").splitlines():
            name, seconds = line.split("\t")
            table.add_row(name, f"{float(seconds):.0f} s")
    trained = [metrics for metrics in steps.values() if "timing_s/step" in metrics]
    for name in ("step", "gen", "old_log_prob", "update_actor", "update_weights"):
        values = [metrics[f"timing_s/{name}"] for metrics in trained if f"timing_s/{name}" in metrics]
        if values:
            table.add_row(f"mean of a step: {name}", f"{sum(values) / len(values):.2f} s")
    stats = output_dir / STATS_FILE
    if stats.exists():
        peak = json.loads(stats.read_text(encoding="utf-8"))["peak_pss_bytes"]
        table.add_row("peak memory of all processes (PSS)", f"{peak / 2**30:.1f} GiB")
    return table


def draw_curves(steps: Steps, path: Path) -> Path:
    """Accuracy, entropy, and the share and loss share of the eight groups over the steps; a PNG at `path`."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(12, 8), layout="constrained")
    accuracy, entropy, share, loss = axes.flat
    validated = {step: validation_accuracy(metrics) for step, metrics in steps.items()}
    for source in sorted({source for found in validated.values() for source in found}):
        points = {step: found[source] for step, found in validated.items() if source in found}
        accuracy.plot(points.keys(), points.values(), marker="o", label=f"held-out {source} (mean@n)")
    trained = {step: metrics for step, metrics in steps.items() if "htpo/pass_rate" in metrics}
    for name, label in (("htpo/pass_rate", "training pass rate"), ("htpo/hard_prompt_frac", "hard prompts")):
        accuracy.plot(trained.keys(), [metrics[name] for metrics in trained.values()], alpha=0.6, label=label)
    accuracy.set(title="accuracy", ylim=(0, 1))
    accuracy.legend(fontsize="small")
    entropy.plot(trained.keys(), [metrics["actor/entropy"] for metrics in trained.values()])
    entropy.set(title="token entropy of the policy (nats)", ylim=(0, None))
    for axis, quantity, title in (
        (share, "frac", "share of tokens by group"),
        (loss, "loss_share", "share of |loss| by group"),
    ):
        layers = [
            [metrics[f"htpo/{quantity}_group{group}"] for metrics in trained.values()]
            for group in range(1, len(CELL_NAMES) + 1)
        ]
        labels = [f"{group} {name.replace('_', ' ')}" for group, name in enumerate(CELL_NAMES, start=1)]
        axis.stackplot(list(trained), layers, labels=labels, colors=GROUP_COLOURS)
        axis.set(title=title, ylim=(0, 1))
    handles, labels = share.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize="small")
    for axis in axes.flat:
        axis.set_xlabel("step")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


if __name__ == "__main__":
    sys.exit(main())
