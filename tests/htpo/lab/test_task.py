# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
import random

import pytest

from recipe.htpo.lab.arithmetic import Problem
from recipe.htpo.lab.model import make_tokenizer, prompt_ids
from recipe.htpo.lab.task import TASKS


@pytest.mark.parametrize("name", TASKS)
def test_what_the_lab_takes_for_granted(name):
    task, rng, tokenizer = TASKS[name], random.Random(0), make_tokenizer()
    lengths = {}
    for problem in task.problems("test", 60, 0):
        lengths.setdefault(problem.terms, set()).add(len(prompt_ids(tokenizer, problem.question)))
        for solution, right in (
            (task.worked_solution(problem, rng), True),
            (task.direct_solution(problem, rng), True),
            (task.corrupted_solution(problem, rng), False),
        ):
            assert task.is_correct(problem, solution) is right, (problem, solution)
            assert len(tokenizer.encode(solution)) + 1 <= task.max_response_tokens
        assert not task.is_correct(problem, "") and not task.is_correct(problem, problem.answer)
    assert sorted(lengths) == list(task.terms) and all(len(found) == 1 for found in lengths.values())
    assert len(task.problems("train", task.train_problems, 0)) == task.train_problems


@pytest.mark.parametrize(
    ("name", "problem", "response", "right"),
    [
        ("arithmetic", Problem("3+4", "7", 2), "3+4=7\n\\boxed{7}", True),
        ("arithmetic", Problem("3+4", "7", 2), "\\boxed{8}", False),
        ("countdown", Problem("3 7 2:20", "20", 3), "7+3=10\n10*2=20\n\\boxed{(7+3)*2}", True),
        ("countdown", Problem("3 7 2:20", "20", 3), "\\boxed{2*(3+7)}", True),
        ("countdown", Problem("3 7 2:20", "20", 3), "\\boxed{7+3*2}", False),
        ("countdown", Problem("3 7 2:20", "20", 3), "\\boxed{20}", False),
        ("countdown", Problem("3 7 2:20", "20", 3), "\\boxed{(7+3)*2*1}", False),
    ],
)
def test_grading(name, problem, response, right):
    assert TASKS[name].is_correct(problem, response) is right
