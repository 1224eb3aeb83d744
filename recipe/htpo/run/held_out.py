# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Held-out accuracy before and after a run, and how sure the difference is.

verl writes every validation response to `trainer.validation_data_dir`/STEP.jsonl
(verl/trainer/ppo/v1/trainer_base.py, `_dump_generations`), with the verifier's `acc`.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipe.htpo.evaluation import Outcomes, common_prompts, difference

VALIDATION_DIR = "validation"


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

    The interval is that of the difference paired by prompt (evaluation/intervals.py). It says nothing of other seeds.

    Raises:
        ValueError: a line of a validation cannot be read, naming file, line and remedy; or both have fewer than two
            prompts in common.
    """
    validations = sorted(
        (int(path.stem), path) for path in (Path(output_dir) / VALIDATION_DIR).glob("*.jsonl") if path.stem.isdigit()
    )
    if len(validations) < 2:
        return None
    (first_step, first), (last_step, last) = validations[0], validations[-1]
    before, after = _outcomes(first), _outcomes(last)
    prompts = common_prompts([before, after])
    if len(prompts) < 2:
        raise ValueError(f"{first} and {last} have {len(prompts)} prompts in common; an interval needs two")
    before, after = before.take(prompts), after.take(prompts)
    found = difference([after], [before], (1,))
    return Change(
        first_step=first_step,
        last_step=last_step,
        prompts=len(prompts),
        responses=int(after.samples.max()),
        before=float(before.pass_at((1,)).mean()),
        after=float(after.pass_at((1,)).mean()),
        low=float(found.low[0]),
        high=float(found.high[0]),
    )


def read_validation(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and entry of each line of a validation; a last line that a killed process did not finish is left out.

    Raises:
        ValueError: another line is no JSON object; names the line.
    """
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                return
            raise ValueError(f"line {number} is no JSON") from error
        if not isinstance(entry, dict):
            raise ValueError(f"line {number} is no JSON object")
        yield number, entry


def _outcomes(path: Path) -> Outcomes:
    """Of one validation, by the prompt's text."""
    samples = []
    try:
        for number, entry in read_validation(path):
            acc = entry.get("acc")
            if acc is None:
                continue
            if not isinstance(acc, int | float) or math.isnan(acc):
                raise ValueError(f"line {number}, field acc: {acc!r} is neither right nor wrong")
            if not isinstance(prompt := entry.get("input"), str):
                raise ValueError(f"line {number}, field input: {prompt!r} is no prompt")
            samples.append((prompt, float(acc)))
    except ValueError as error:
        raise ValueError(f"{path}: {error}; delete the line, or validate again") from error
    return Outcomes.of_samples(samples)
