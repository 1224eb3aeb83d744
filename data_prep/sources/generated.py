# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Sets that are computed: seeded, with disjoint splits."""

from collections.abc import Iterator, Sequence
from typing import cast

from data_prep.sources.dataset import GeneratedSet, GenerateOptions, Parsed


class ArithmeticSet(GeneratedSet):
    """Seeded sums and differences (``recipe/htpo/lab/arithmetic.py``); train and test never share a problem."""

    def generate(self, split: str, options: GenerateOptions) -> Iterator[Parsed]:
        from recipe.htpo.lab import arithmetic

        count, seed = (options.train_rows, options.seed) if split == "train" else (options.test_rows, options.test_seed)
        for problem in arithmetic.problems(cast(arithmetic.Split, split), count, seed, options.terms):
            yield Parsed(problem=problem.question, answer=problem.answer, level=str(problem.terms))

    def code(self) -> Sequence[str]:
        return ("recipe.htpo.lab.arithmetic",)
