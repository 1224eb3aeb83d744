# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The metrics of a run, from the files of all its starts."""

import json
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import orjson

from recipe.htpo.run.record import METRICS_DIR, write_atomic

Steps = dict[int, dict[str, Any]]

SAVED_STEP_FILE = "metrics.json"


def read_steps(output_dir: str | Path, last_start: bool = False) -> Steps:
    """`step -> {metric: value}` in order; a step that was trained again after a resume has its last values.

    With `last_start` only what the newest start recorded.

    A line that is damaged, as one that a killed process did not finish, is left out; so is a value that is no number,
    such as the null that verl's logger makes of NaN.
    """
    steps: Steps = {}
    files = sorted((Path(output_dir) / METRICS_DIR).glob("*.jsonl"))
    for path in files[-1:] if last_start else files:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            entry = _entry(line)
            if entry is not None:
                steps.setdefault(entry[0], {}).update(entry[1])
    return {step: _numbers(metrics) for step, metrics in sorted(steps.items())}


def _numbers(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if isinstance(value, Real)}


def _entry(line: str | bytes) -> tuple[int, dict[str, Any]] | None:
    """Step and metrics of a line; None where it is damaged."""
    try:
        entry = json.loads(line)
        return int(entry["step"]), dict(entry["data"])
    except (ValueError, TypeError, KeyError):
        return None


def write_saved_step(checkpoint: Path, step: int, metrics: Mapping[str, Any]) -> None:
    """Put a step's metrics into its checkpoint: verl records a step only after it was saved and validated."""
    checkpoint.mkdir(parents=True, exist_ok=True)
    line = orjson.dumps({"step": step, "data": _numbers(metrics)}, option=orjson.OPT_SERIALIZE_NUMPY)
    write_atomic(checkpoint / SAVED_STEP_FILE, line)


def recover_saved_step(output_dir: str | Path, checkpoint: Path) -> None:
    """Record the step of a checkpoint, if the run was killed between its save and its record.

    It goes to the end of the newest metrics file, which is the killed start's. Its timing is not known, and its
    validation is made again by `trainer.val_before_train`.
    """
    saved = checkpoint / SAVED_STEP_FILE
    files = sorted((Path(output_dir) / METRICS_DIR).glob("*.jsonl"))
    if not saved.is_file() or not files:
        return
    entry = _entry(saved.read_bytes())
    if entry is None:
        print(f"passing over {saved}, which is damaged: the step's metrics are not recorded", flush=True)
        return
    step, data = entry[0], _numbers(entry[1])
    recorded = read_steps(output_dir).get(step, {})
    if recorded | data == recorded:
        return
    with files[-1].open("rb+") as stream:
        # On a line of its own, after what a killed process did not finish.
        unfinished = stream.read()[-1:] not in (b"", b"\n")
        stream.write(b"\n" * unfinished + orjson.dumps({"step": step, "data": data}) + b"\n")


def validation_accuracy(metrics: dict[str, Any]) -> dict[str, float]:
    """`data source -> mean@n accuracy` of one step; empty when the step was not validated."""
    found = {}
    for name, value in metrics.items():
        parts = name.split("/")
        if len(parts) > 3 and parts[0] == "val-core" and parts[-2] == "acc" and parts[-1].startswith("mean@"):
            found["/".join(parts[1:-2])] = float(value)
    return found
