# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What is known of a run, whatever wrote it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipe.htpo.evaluation import Outcomes

Curve = dict[int, float]
"""Value by training step."""

CURVES = {
    "accuracy": "held-out accuracy (pass@1)",
    "train_accuracy": "training pass rate, as generated",
    "entropy": "token entropy (nats)",
    "length": "response length (tokens)",
    "replaced": "replaced tokens (share)",
    "clipped": "tokens with PPO's clip active (share)",
    "treated": "tokens treated unlike PPO (share)",
    "hard": "hard prompts (share)",
} | {f"group{group}": f"tokens of group {group} (share)" for group in range(1, 9)}
"""Curves that a comparison draws, and what they are."""

# Names of the real stack's metrics, the first that a run has; and the lab's.
METRICS = {
    "train_accuracy": ("htpo/pass_rate_generated", "htpo/pass_rate"),
    "entropy": ("actor/entropy",),
    "length": ("response_length/mean",),
    "replaced": ("htpo/replaced_frac",),
    "clipped": ("actor/pg_clipfrac",),
    "treated": ("htpo/treated_frac",),
    "hard": ("htpo/hard_prompt_frac",),
} | {f"group{group}": (f"htpo/frac_group{group}",) for group in range(1, 9)}
LAB_METRICS = {
    "train_accuracy": "train_pass_rate",
    "entropy": "entropy",
    "length": "response_tokens",
    "replaced": "replaced",
    "clipped": "clipped",
    "treated": "treated",
    "hard": "hard",
} | {f"group{group}": f"group{group}" for group in range(1, 9)}


class CompareError(ValueError):
    """Something that cannot be compared: the file, the field in it, and what to do."""

    def __init__(self, file: Path, what: str, remedy: str) -> None:
        super().__init__(f"{file}: {what}; {remedy}")


@dataclass
class Run:
    """One run."""

    name: str
    kind: str
    """`run`, `lab`, `responses` or `csv`."""
    path: Path
    objective: str
    """Name of its arm; runs of one name are seeds of one another."""
    seed: int | None = None
    evaluations: dict[int, dict[str, Outcomes]] = field(default_factory=dict)
    """By training step and data source."""
    curves: dict[str, Curve] = field(default_factory=dict)
    """By the names of `CURVES`."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Flat: `a.b.c` -> value."""
    problems: dict[tuple[str, str], str] = field(default_factory=dict)
    """Text of a prompt by its data source and its name in `evaluations`, where name and text are not the same."""
    note: str = ""
    """What a reader should know, such as a collapse."""

    @property
    def first_step(self) -> int:
        return min(self.evaluations)

    @property
    def last_step(self) -> int:
        return max(self.evaluations)
