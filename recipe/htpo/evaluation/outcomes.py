# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Right and wrong samples of one model on a set of prompts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recipe.htpo.evaluation.pass_at_k import Floats, pass_at_k


@dataclass(frozen=True)
class Outcomes:
    """How many samples of each prompt are right: one model, one evaluation. The order of prompts means nothing."""

    prompts: tuple[str, ...]
    """Name of each prompt, the same in every evaluation of the set; distinct."""
    correct: NDArray[np.int64]
    """`[P]` right samples."""
    samples: NDArray[np.int64]
    """`[P]` samples, at least 1."""

    def __post_init__(self) -> None:
        if not len(self.prompts) == len(self.correct) == len(self.samples):
            raise ValueError("outcomes need one count of right samples and one of samples per prompt")
        if len(set(self.prompts)) != len(self.prompts):
            raise ValueError("outcomes name a prompt twice; count all its samples together (Outcomes.of_samples)")
        if (self.samples < 1).any() or (self.correct < 0).any() or (self.correct > self.samples).any():
            raise ValueError("every prompt needs samples, and at most all of them can be right")

    @classmethod
    def of_counts(
        cls, correct: Sequence[int], samples: int | Sequence[int], prompts: Sequence[str] | None = None
    ) -> "Outcomes":
        """From counts; without names, prompts are called by their position."""
        right = np.asarray(correct, dtype=np.int64)
        total = np.broadcast_to(np.asarray(samples, dtype=np.int64), right.shape)
        return cls(tuple(prompts) if prompts is not None else tuple(map(str, range(len(right)))), right, total)

    @classmethod
    def of_samples(cls, samples: Iterable[tuple[str, float]]) -> "Outcomes":
        """From `(prompt, acc)` of every sample, in any order; an `acc` above 0.5 is right.

        A prompt that stands in many rows of a file, as the 30 problems of AIME in its file of 960, is one prompt.
        """
        counts: dict[str, list[int]] = {}
        for prompt, acc in samples:
            count = counts.setdefault(prompt, [0, 0])
            count[0] += acc > 0.5
            count[1] += 1
        table = np.array(list(counts.values()), dtype=np.int64).reshape(-1, 2)
        return cls(tuple(counts), table[:, 0], table[:, 1])

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def least_samples(self) -> int:
        """Samples of the prompt that has the fewest: the largest `k` of a pass@k."""
        return int(self.samples.min()) if len(self) else 0

    def pass_at(self, ks: Sequence[int]) -> Floats:
        """`[P, K]` pass@k of every prompt."""
        return pass_at_k(self.correct, self.samples, ks)

    def take(self, prompts: Sequence[str]) -> "Outcomes":
        """Those prompts, in that order. Raises ValueError, naming some, where prompts are missing."""
        place = {prompt: i for i, prompt in enumerate(self.prompts)}
        if missing := [prompt for prompt in prompts if prompt not in place]:
            shown = ", ".join(repr(prompt[:60]) for prompt in missing[:3])
            raise ValueError(
                f"{len(missing)} of {len(prompts)} prompts were not evaluated here, such as {shown}: evaluate both "
                "models on the same data, or take the prompts that both have (common_prompts)"
            )
        rows = np.array([place[prompt] for prompt in prompts], dtype=np.int64)
        return Outcomes(tuple(prompts), self.correct[rows], self.samples[rows])


def common_prompts(evaluations: Iterable[Outcomes]) -> list[str]:
    """Prompts that all evaluations have, in the order of the first."""
    first, *others = evaluations
    sets = [set(other.prompts) for other in others]
    return [prompt for prompt in first.prompts if all(prompt in names for names in sets)]
