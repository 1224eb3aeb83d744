# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What each task's warm model is made by; apart from the training, whose libraries take seconds to import."""

from dataclasses import dataclass

from recipe.htpo.lab.task import TASKS


@dataclass(frozen=True)
class WarmupRecipe:
    """Everything that decides the weights, up to rounding.

    ``direct_fraction`` is the share of solutions that guess at once; ``slip_rate`` the chance that a step of a worked
    solution is wrong (one slip per solution at most); ``pool`` the number of distinct training problems; ``lr`` the
    peak learning rate of Muon (matrices) and AdamW (all else). Raises ValueError on values out of range.
    """

    steps: int = 300
    batch_size: int = 48
    lr: float = 3e-3
    direct_fraction: float = 0.25
    slip_rate: float = 0.06
    pool: int = 20_000
    terms: tuple[int, ...] = TASKS["arithmetic"].terms
    seed: int = 0
    task: str = "arithmetic"

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task must be {' or '.join(TASKS)}, got {self.task!r}")
        for name in ("steps", "batch_size", "pool"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("direct_fraction", "slip_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if self.lr <= 0:
            raise ValueError(f"lr must be positive, got {self.lr}")


RECIPES = {
    "arithmetic": WarmupRecipe(),
    "countdown": WarmupRecipe(
        task="countdown", terms=TASKS["countdown"].terms, pool=1200, steps=400, direct_fraction=0.15, slip_rate=0.0
    ),
}
"""What each task's model is made by."""
