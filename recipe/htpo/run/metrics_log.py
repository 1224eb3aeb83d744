# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The metrics of a run, from the files of all its starts."""

import json
from pathlib import Path
from typing import Any

from recipe.htpo.run.record import METRICS_DIR

Steps = dict[int, dict[str, Any]]


def read_steps(output_dir: str | Path) -> Steps:
    """`step -> {metric: value}` in order; a step that was trained again after a resume has its last values.

    A line that a killed process did not finish is left out.
    """
    steps: Steps = {}
    for path in sorted((Path(output_dir) / METRICS_DIR).glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            steps.setdefault(int(entry["step"]), {}).update(entry["data"])
    return dict(sorted(steps.items()))


def validation_accuracy(metrics: dict[str, Any]) -> dict[str, float]:
    """`data source -> mean@n accuracy` of one step; empty when the step was not validated."""
    found = {}
    for name, value in metrics.items():
        parts = name.split("/")
        if len(parts) > 3 and parts[0] == "val-core" and parts[-2] == "acc" and parts[-1].startswith("mean@"):
            found["/".join(parts[1:-2])] = float(value)
    return found
