# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
import itertools
import re

import pytest

from recipe.htpo.lab.arithmetic import (
    MAX_VALUE,
    TERMS,
    Problem,
    corrupted_solution,
    direct_solution,
    problems,
    split_of,
    worked_solution,
)


def evaluate(question: str) -> list[int]:
    """Running values, by a route that shares nothing with the module."""
    prefixes = [question[: 2 * i + 1] for i in range((len(question) + 1) // 2)]
    return [eval(prefix) for prefix in prefixes]


def boxed(text: str) -> str:
    return re.findall(r"\\boxed\{(\d+)\}", text)[-1]


def all_two_term_questions() -> set[str]:
    digits = range(1, 10)
    sums = {f"{a}+{b}" for a, b in itertools.product(digits, digits)}
    differences = {f"{a}-{b}" for a, b in itertools.product(digits, digits) if a >= b}
    return sums | differences


@pytest.mark.parametrize("split", ["train", "test"])
def test_answers_and_running_values_are_right(split):
    drawn = problems(split, 700, seed=1)
    assert {problem.terms for problem in drawn} == set(TERMS)
    for problem in drawn:
        assert re.fullmatch(r"[1-9]([+-][1-9])*", problem.question)
        assert len(re.findall(r"\d", problem.question)) == problem.terms
        values = evaluate(problem.question)
        assert all(0 <= value <= MAX_VALUE for value in values)
        assert problem.answer == str(values[-1])


def test_same_seed_same_problems_other_seed_others():
    assert problems("train", 50, seed=3) == problems("train", 50, seed=3)
    assert problems("train", 50, seed=3) != problems("train", 50, seed=4)


def test_splits_are_disjoint_for_any_seed_and_problems_distinct():
    train = [problem.question for problem in problems("train", 3000, seed=0)]
    test = [problem.question for problem in problems("test", 1000, seed=0)]
    assert len(set(train)) == 3000 and len(set(test)) == 1000
    assert {split_of(question) for question in train} == {"train"}
    assert {split_of(question) for question in test} == {"test"}


def test_a_level_can_be_drawn_to_its_last_problem():
    everything = all_two_term_questions()
    held_out = {question for question in everything if split_of(question) == "test"}
    assert 0 < len(held_out) < len(everything) / 2
    assert {p.question for p in problems("test", len(held_out), seed=5, terms=(2,))} == held_out
    with pytest.raises(ValueError, match=f"has {len(held_out)} distinct problems"):
        problems("test", len(held_out) + 1, seed=5, terms=(2,))


def test_an_exhausted_level_leaves_the_rest_to_the_others():
    drawn = problems("test", 600, seed=0, terms=(2, 8))
    assert sum(problem.terms == 8 for problem in drawn) > 500


def test_levels_are_drawn_evenly():
    drawn = problems("train", 3000, seed=0, terms=(4, 6, 8))
    for level in (4, 6, 8):
        assert 900 < sum(problem.terms == level for problem in drawn) < 1100


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(split="dev", count=1, seed=0), "split must be one of train, test"),
        (dict(split="train", count=-1, seed=0), "count must not be negative"),
        (dict(split="train", count=1, seed=0, terms=(1,)), "terms must be"),
        (dict(split="train", count=1, seed=0, terms=()), "terms must be"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        problems(**arguments)


def test_solutions_of_a_known_problem():
    problem = Problem("3+9-2", "10", 3)
    assert worked_solution(problem) == "3+9=12\n12-2=10\n\\boxed{10}"
    assert direct_solution(problem) == "\\boxed{10}"


def test_worked_solutions_are_right_line_by_line():
    for problem in problems("train", 300, seed=2):
        *steps, _ = worked_solution(problem).split("\n")
        assert len(steps) == problem.terms - 1
        assert all(eval(step.replace("=", "==")) for step in steps)
        assert boxed(worked_solution(problem)) == boxed(direct_solution(problem)) == problem.answer


def test_corrupted_solutions_have_one_wrong_step_and_a_wrong_answer():
    for seed, problem in enumerate(problems("train", 500, seed=6)):
        text = corrupted_solution(problem, seed)
        assert text == corrupted_solution(problem, seed)
        *steps, _ = text.split("\n")
        assert sum(not eval(step.replace("=", "==")) for step in steps) == 1
        assert steps[0].startswith(problem.question[:3] + "=")
        results = [step.split("=")[1] for step in steps]
        assert [re.match(r"\d+", step)[0] for step in steps[1:]] == results[:-1]
        assert boxed(text) == results[-1] != problem.answer
        assert all(0 <= int(result) <= MAX_VALUE for result in results)
