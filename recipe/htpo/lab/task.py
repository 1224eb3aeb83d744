# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The tasks of the lab: problems, solutions to warm up with, and how a response is graded."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from recipe.htpo.lab import arithmetic, countdown
from recipe.htpo.lab.arithmetic import Problem
from recipe.htpo.reward import compute_score

Solution = Callable[[Problem, random.Random], str]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What the lab has to know of a task."""

    name: str
    source: str
    """`data_source`, which chooses the scorer."""
    terms: tuple[int, ...]
    """Its levels. Prompts of one level have one length."""
    train_problems: int
    """Distinct problems that a run draws from."""
    max_response_tokens: int
    """One token per character of the longest solution, and the end token."""
    problems: Callable[..., list[Problem]]
    """`problems(split, count, seed, terms)`; train and test never share one."""
    worked_solution: Solution
    direct_solution: Solution
    corrupted_solution: Solution
    extra_info: Callable[[Problem], Mapping[str, Any] | None] = lambda problem: None

    def is_correct(self, problem: Problem, response: str) -> bool:
        """The verdict of the real stack's reward function."""
        return compute_score(self.source, response, problem.answer, self.extra_info(problem))["acc"] == 1.0


TASKS = {
    "arithmetic": Task(
        name="arithmetic",
        source="arithmetic",
        terms=arithmetic.TERMS,
        train_problems=8000,
        max_response_tokens=66,
        problems=arithmetic.problems,
        worked_solution=lambda problem, _: arithmetic.worked_solution(problem),
        direct_solution=lambda problem, _: arithmetic.direct_solution(problem),
        corrupted_solution=lambda problem, rng: arithmetic.corrupted_solution(problem, rng.getrandbits(32)),
    ),
    "countdown": Task(
        name="countdown",
        source="reasoning_gym:countdown",
        terms=countdown.TERMS,
        train_problems=1200,
        max_response_tokens=31,
        problems=countdown.problems,
        worked_solution=countdown.worked_solution,
        direct_solution=countdown.direct_solution,
        corrupted_solution=countdown.corrupted_solution,
        extra_info=countdown.task_entry,
    ),
}
