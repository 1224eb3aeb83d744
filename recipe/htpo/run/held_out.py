# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Held-out accuracy before and after a run, and how sure the difference is.

verl writes every validation response to `trainer.validation_data_dir`/STEP.jsonl
(verl/trainer/ppo/v1/trainer_base.py, `_dump_generations`), with the verifier's `acc`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

VALIDATION_DIR = "validation"
CONFIDENCE = 0.95
RESAMPLES = 5000
SEED = 0


@dataclass(frozen=True)
class Change:
    """Mean accuracy over prompts at the first and the last validation, and the interval of the paired difference."""

    first_step: int
    last_step: int
    prompts: int
    responses: int
    """Per prompt."""
    before: float
    after: float
    low: float
    high: float
    """Ends of the 95 % interval of `after - before`."""


def change(output_dir: str | Path) -> Change | None:
    """What the first and the last validation of a run say; None where there are not two.

    The interval is the percentile bootstrap of the mean over prompts of the difference of a prompt's two accuracies:
    prompts are what was drawn, and responses to one prompt are not independent. It says nothing of other seeds.
    """
    found = sorted(
        (int(path.stem), path) for path in (Path(output_dir) / VALIDATION_DIR).glob("*.jsonl") if path.stem.isdigit()
    )
    if len(found) < 2:
        return None
    (first_step, first), (last_step, last) = found[0], found[-1]
    before, after = _accuracy_by_prompt(first), _accuracy_by_prompt(last)
    prompts = sorted(before.keys() & after.keys())
    if len(prompts) < 2:
        return None
    pairs = np.array([[np.mean(before[prompt]), np.mean(after[prompt])] for prompt in prompts])
    difference = pairs[:, 1] - pairs[:, 0]
    low, high = _interval(difference)
    return Change(
        first_step=first_step,
        last_step=last_step,
        prompts=len(prompts),
        responses=max(len(after[prompt]) for prompt in prompts),
        before=float(pairs[:, 0].mean()),
        after=float(pairs[:, 1].mean()),
        low=low,
        high=high,
    )


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Ends of the interval of the mean of `[N]` values."""
    means = np.random.default_rng(SEED).choice(values, (RESAMPLES, len(values))).mean(1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return float(low), float(high)


def _accuracy_by_prompt(path: Path) -> dict[str, list[float]]:
    """`prompt -> acc of its responses`; a line that a killed process did not finish is left out."""
    found: dict[str, list[float]] = {}
    for line in path.read_bytes().splitlines():
        try:
            entry = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if entry.get("acc") is not None:
            found.setdefault(entry["input"], []).append(float(entry["acc"]))
    return found
