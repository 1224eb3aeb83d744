# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m recipe.htpo.run.report OUTPUT_DIR`: did a run learn, how sure is that, how long did it take."""

import argparse
import json
import sys
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.table import Table

from recipe.htpo.objective import CELL_NAMES
from recipe.htpo.pictures import pyplot
from recipe.htpo.run.held_out import VALIDATION_DIR, Change, change
from recipe.htpo.run.metrics_log import Steps, read_steps, validation_accuracy
from recipe.htpo.run.record import CONFIG_FILE, METRICS_DIR
from recipe.htpo.run.supervise import STATS_FILE

CURVES_FILE = "curves.png"
LOG_FILE = "log.txt"
PHASES_FILE = "phases.tsv"
GENERATED_PASS_RATE = "htpo/pass_rate_generated"
# Steps at either end over which the training pass rate is averaged, at most: the ends have no step in common.
ENDS = 5
TREATMENT = {
    "htpo/treated_frac": "treated unlike PPO: replaced or detached",
    "htpo/replaced_frac": "replaced: a fork term instead of PPO's",
    "htpo/detach_frac_low": "detached: lowest entropies of group 1",
    "htpo/detach_frac_high": "detached: highest entropies of group 6",
    "actor/pg_clipfrac": "left the clip range in PPO's direction",
}
# Hue: hard-correct, hard-wrong, easy-correct, easy-wrong; dark: low entropy, light: high entropy.
GROUP_COLOURS = ("#08519c", "#6baed6", "#a50f15", "#fb6a4a", "#006d2c", "#74c476", "#54278f", "#9e9ac8")


def main() -> int:
    """Print the tables and what they say, and write `OUTPUT_DIR/curves.png`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output_dir", type=Path, help="output directory of a run")
    output_dir = parser.parse_args().output_dir
    steps = read_steps(output_dir)
    if not steps:
        print(f"{output_dir}: no metrics of a run there; give the run's htpo.output_dir", file=sys.stderr)
        return 2
    curves = output_dir / CURVES_FILE
    try:
        draw_curves(steps, curves)
    except OSError as error:
        print(f"{curves}: not drawn ({error})", file=sys.stderr)
    try:
        held_out = change(output_dir)
        said = verdict(held_out)
    except ValueError as error:
        held_out, said = None, f"verdict: none; {error}"
    # Names of directories and data sources may have brackets, which are no markup.
    console = Console(markup=False)
    console.print(accuracy_table(steps, held_out))
    console.print(treatment_table(steps))
    console.print(time_table(steps, output_dir))
    for line in (said, *pointers(output_dir, curves)):
        console.print(line, soft_wrap=True)
    return 0


def accuracy_table(steps: Steps, held_out: Change | None) -> Table:
    """Held-out accuracy before and after with the interval of its change, and the training pass rate at both ends.

    The training pass rate is that of all generated prompts, before dynamic sampling drops those whose responses are
    all right or all wrong; a mean over `ENDS` steps, since each step has other prompts. What was measured once has not
    changed.
    """
    table = Table(title="did it learn?")
    for name in ("measure", "before", "after", "change (points)", "95 % interval"):
        table.add_column(name, justify="left" if name == "measure" else "right")
    curves: dict[str, dict[int, float]] = {}
    for step, metrics in steps.items():
        for source, accuracy in validation_accuracy(metrics).items():
            curves.setdefault(f"held-out {source}", {})[step] = accuracy
    for name, curve in sorted(curves.items()):
        values = list(curve.values())
        # The interval is that of all held-out prompts together.
        interval = f"{100 * held_out.low:+.1f} to {100 * held_out.high:+.1f}" if held_out and len(curves) == 1 else ""
        table.add_row(name, *_change(values[:1], values[1:][-1:]), interval)
    rates = [metrics[GENERATED_PASS_RATE] for metrics in steps.values() if GENERATED_PASS_RATE in metrics]
    ends = min(ENDS, max(1, len(rates) // 2))
    if rates:
        table.add_row("training, as generated", *_change(rates[:ends], rates[ends:][-ends:]), "")
    prompts = f"; {held_out.prompts} held-out prompts x {held_out.responses}" if held_out else ""
    means = f"; training: means of {ends} steps" if rates else ""
    table.caption = f"steps {min(steps)} to {max(steps)}{prompts}{means}"
    return table


def verdict(held_out: Change | None) -> str:
    """What the interval of the held-out accuracy says, in a sentence."""
    if held_out is None:
        return (
            f"verdict: none without the answers of two validations in {VALIDATION_DIR}/; trainer.test_freq and "
            "val_before_train decide when, trainer.validation_data_dir where"
        )
    points = 100 * (held_out.after - held_out.before)
    interval = f"{points:+.1f} points, 95 % interval {100 * held_out.low:+.1f} to {100 * held_out.high:+.1f}"
    if held_out.low > 0:
        return f"verdict: it learned ({interval})"
    if held_out.high < 0:
        return f"verdict: it got worse ({interval})"
    return f"verdict: no change that could be told from chance ({interval})"


def treatment_table(steps: Steps) -> Table:
    """Mean over the steps of the shares of tokens that the objective treats unlike PPO."""
    table = Table(title="tokens treated unlike PPO")
    table.add_column("share of all tokens (mean of a step)")
    table.add_column("value", justify="right")
    for name, label in TREATMENT.items():
        values = [metrics[name] for metrics in steps.values() if name in metrics]
        if values:
            table.add_row(label, f"{100 * _mean(values):.2f} %")
    return table


def time_table(steps: Steps, output_dir: Path) -> Table:
    """Wall time per phase of the command and of the mean training step, and peak memory."""
    table = Table(title="time and memory")
    table.add_column("phase")
    table.add_column("value", justify="right")
    trained = [metrics for metrics in steps.values() if "timing_s/step" in metrics]
    seconds = _phases(output_dir / PHASES_FILE)
    for name, value in seconds.items():
        table.add_row(name, f"{value:.0f} s")
    # The phases are those of the last start.
    last = read_steps(output_dir, last_start=True).values()
    in_steps = sum(metrics.get("timing_s/step", 0.0) for metrics in last)
    later = sum(metrics.get("timing_s/testing", 0.0) for metrics in last if "timing_s/step" in metrics)
    rest = seconds.get("training", 0.0) - in_steps - later
    # Less than nothing where that start failed before it recorded a step.
    if rest >= 0 and "training" in seconds:
        table.add_row("  of it, in steps", f"{in_steps:.0f} s")
        table.add_row("  of it, in validations after a step", f"{later:.0f} s")
        table.add_row("  of it, start of the processes, first validation, saving", f"{rest:.0f} s")
    for name in ("step", "gen", "old_log_prob", "update_actor", "update_weights"):
        values = [metrics[f"timing_s/{name}"] for metrics in trained if f"timing_s/{name}" in metrics]
        if values:
            table.add_row(f"mean of a step: {name}", f"{_mean(values):.2f} s")
    with suppress(OSError, ValueError, KeyError, TypeError):
        peak = json.loads((output_dir / STATS_FILE).read_text(encoding="utf-8"))["peak_pss_bytes"]
        table.add_row("peak memory of all processes (PSS)", f"{peak / 2**30:.1f} GiB")
    return table


def _phases(path: Path) -> dict[str, float]:
    """Seconds by phase; a damaged line is left out."""
    seconds = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        name, _, value = line.partition("\t")
        with suppress(ValueError):
            seconds[name] = float(value)
    return seconds


def pointers(output_dir: Path, curves: Path) -> list[str]:
    """Where to look next."""
    found = [
        ("curves", curves),
        ("every answer of the validations", output_dir / VALIDATION_DIR),
        ("all metrics of every step", output_dir / METRICS_DIR),
        ("configuration", output_dir / CONFIG_FILE),
        ("log of all processes", output_dir / LOG_FILE),
        ("checkpoints", output_dir / "checkpoints"),
    ]
    return ["where to look next:"] + [f"  {path}: {name}" for name, path in found if path.exists()]


def _change(before: list[float], after: list[float]) -> tuple[str, str, str]:
    """Both means and their difference in points; what is not known is empty."""
    if not after:
        return f"{_mean(before):.3f}", "", ""
    return f"{_mean(before):.3f}", f"{_mean(after):.3f}", f"{100 * (_mean(after) - _mean(before)):+.1f}"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _curve(steps: Steps, name: str) -> tuple[list[int], list[float]]:
    """Steps that have a metric, and its values."""
    points = {step: metrics[name] for step, metrics in steps.items() if name in metrics}
    return list(points), list(points.values())


def draw_curves(steps: Steps, path: Path) -> Path:
    """Accuracy, entropy, and the share and loss share of the eight groups over the steps; a PNG at `path`."""
    plt = pyplot()
    figure, axes = plt.subplots(2, 2, figsize=(12, 8), layout="constrained")
    accuracy, entropy, share, loss = axes.flat
    validated = {step: validation_accuracy(metrics) for step, metrics in steps.items()}
    for source in sorted({source for found in validated.values() for source in found}):
        points = {step: found[source] for step, found in validated.items() if source in found}
        accuracy.plot(points.keys(), points.values(), marker="o", label=f"held-out {source} (mean@n)")
    trained = {step: metrics for step, metrics in steps.items() if "htpo/pass_rate" in metrics}
    for name, label in (("htpo/pass_rate", "training pass rate"), ("htpo/hard_prompt_frac", "hard prompts")):
        accuracy.plot(*_curve(steps, name), alpha=0.6, label=label)
    accuracy.set(title="accuracy", ylim=(0, 1))
    accuracy.legend(fontsize="small")
    entropy.plot(*_curve(steps, "actor/entropy"))
    entropy.set(title="token entropy of the policy (nats)", ylim=(0, None))
    for axis, quantity, title in (
        (share, "frac", "share of tokens by group"),
        (loss, "loss_share", "share of |loss| by group"),
    ):
        layers = [
            # verl's own losses report no shares of the loss.
            [metrics.get(f"htpo/{quantity}_group{group}", 0.0) for metrics in trained.values()]
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
