# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Totals of a dump by group, and whether they are what the run logged."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recipe.htpo.inspect.dump import StepDump
from recipe.htpo.objective import TokenLossOutput, group_sums, metrics_from_sums
from recipe.htpo.run.metrics_log import read_steps

# The lab's names.
LAB_NAMES = {
    "htpo/replaced_frac": "replaced",
    "htpo/replaced_fallen_frac": "destroyed",
    "actor/pg_clipfrac": "clipped",
} | {f"htpo/frac_group{group}": f"group{group}" for group in range(1, 9)}
RELATIVE, ABSOLUTE = 1e-4, 2e-6
"""Largest difference that rounding makes: sums of fp32 in another order, the lab's six decimals."""


def step_totals(dump: StepDump) -> dict[str, float]:
    """The metrics of `metrics_from_sums` over all tokens of a dump."""
    tokens = {name: torch.from_numpy(dump.flat(name).copy()) for name in ("loss", "ratio", "state", "entropy")}
    entropy = tokens.pop("entropy")
    output = TokenLossOutput(log_ratio=tokens["ratio"].log(), **tokens)
    return metrics_from_sums(group_sums(output, entropy=entropy))


def read_logged(run_dir: str | Path) -> dict[int, dict[str, Any]]:
    """`step -> metrics` of a run's directory, or of the lab's result beside it; empty where there is neither.

    What the lab logs has the names that the real stack gives to it.
    """
    if steps := read_steps(run_dir):
        return steps
    directory = Path(run_dir).resolve()
    result = directory.with_name(f"{directory.name}.json")
    if not result.is_file():
        return {}
    records = json.loads(result.read_text(encoding="utf-8"))["steps"]
    return {
        record["step"]: {name: record[lab] for name, lab in LAB_NAMES.items() if lab in record} for record in records
    }


@dataclass(frozen=True)
class Comparison:
    """Totals of a step's dump against what was logged for the step."""

    compared: int
    """How many metrics both have."""
    different: tuple[str, ...]
    """`name: dump against logged`, of those that differ by more than rounding."""


def compare(dump: StepDump, logged: Mapping[str, Any]) -> Comparison:
    """Of a dump that has every response of its step. Shares of the loss depend on its aggregation and are left out."""
    found = [
        (name, value, float(logged[name]))
        for name, value in step_totals(dump).items()
        if name in logged and "_share_" not in name
    ]
    return Comparison(
        compared=len(found),
        different=tuple(
            f"{name}: {value:.6g} against {recorded:.6g}"
            for name, value, recorded in found
            if abs(value - recorded) > ABSOLUTE + RELATIVE * abs(recorded)
        ),
    )
