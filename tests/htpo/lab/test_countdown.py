# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
import random
import re

import pytest

from recipe.htpo.lab.arithmetic import Problem
from recipe.htpo.lab.countdown import TERMS, corrupted_solution, direct_solution, problems, worked_solution
from recipe.htpo.tasks.countdown import solves


def parsed(problem: Problem) -> tuple[list[int], int]:
    digits, target = problem.question.split(":")
    return [int(digit) for digit in digits.split()], int(target)


def test_problems_are_seeded_distinct_and_apart_by_split():
    drawn = {split: problems(split, 400, seed=3) for split in ("train", "test")}
    assert drawn["train"] == problems("train", 400, seed=3) != problems("train", 400, seed=4)
    keys = {split: {(*sorted(digits), target) for digits, target in map(parsed, drawn[split])} for split in drawn}
    assert len(keys["train"]) == len(keys["test"]) == 400 and not keys["train"] & keys["test"]
    for problem in drawn["train"]:
        digits, target = parsed(problem)
        assert len(digits) == problem.terms and set(digits) <= set(range(1, 10))
        assert 1 <= target <= 99 and problem.answer == str(target)
        assert re.fullmatch(r"\d( \d)+:\d\d", problem.question)


def test_levels_have_equal_chances_until_one_is_used_up():
    levels = [problem.terms for problem in problems("train", 80, seed=0)]
    assert 25 <= levels.count(2) <= 55
    assert {problem.terms for problem in problems("test", 20, seed=0, terms=(3,))} == {3}


@pytest.mark.parametrize(
    ("count", "terms", "message"), [(5000, TERMS, "lower count"), (3, (1,), "terms must be"), (3, (), "terms must be")]
)
def test_bad_requests_are_named(count, terms, message):
    with pytest.raises(ValueError, match=message):
        problems("train", count, 0, terms)


def test_solutions_are_what_they_say():
    rng = random.Random(1)
    for problem in problems("train", 60, seed=1):
        digits, target = parsed(problem)
        for solution, reaches in ((worked_solution, True), (corrupted_solution, False)):
            *steps, boxed = solution(problem, rng).split("\n")
            expression = boxed.removeprefix("\\boxed{").removesuffix("}")
            assert solves(expression, digits, target) is reaches
            assert len(steps) == len(digits) - 1
            for step in steps:
                left, right = step.split("=")
                assert eval(left) == int(right)
            assert int(steps[-1].split("=")[1]) == eval(expression)
        assert solves(direct_solution(problem, rng)[len("\\boxed{") : -1], digits, target)


def test_every_way_to_a_target_is_taught():
    problem, rng = Problem("2 4:08", "8", 2), random.Random(0)
    assert {direct_solution(problem, rng) for _ in range(40)} == {"\\boxed{2*4}", "\\boxed{4*2}"}
