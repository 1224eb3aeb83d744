# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""An expression copied from the problem is no answer; what the problem gives as an answer is one."""

import pytest

from recipe.htpo.reward import compute_score
from recipe.htpo.verifier import VerifierConfig, verify

FACTOR = r"Factor $x^2 - 9$."


@pytest.mark.parametrize(
    "problem, truth, answer, reason",
    [
        (FACTOR, "(x-3)(x+3)", "x^2-9", "copied"),
        (FACTOR, "(x-3)(x+3)", "(x^2-9)", "copied"),
        (FACTOR, "(x-3)(x+3)", "((x^2-9))", "copied"),
        (FACTOR, "(x-3)(x+3)", "{[x^2-9]}", "copied"),
        (FACTOR, "(x-3)(x+3)", "f(x) = x^2-9", "copied"),
        (FACTOR, "(x-3)(x+3)", r"x^2-9 \text{ apples}", "copied"),
        (r"Factor $9-x^{12}$.", "(3-x^6)(3+x^6)", r"9-x^{12} \text{ apples}", "copied"),
        (FACTOR, "(x-3)(x+3)", "f(x) = (x+3)(x-3)", "equal"),
        (FACTOR, "x^2-9", "y = (x^2 - 9)", "equal"),
        (FACTOR, "(x-3)(x+3)", "(x+3)(x-3)", "equal"),
        (r"Simplify \(t^3\cdot t^4\).", "t^7", r"t^3 \cdot t^4", "copied"),
        ("Compute 4.3 + 3.88.", "8.18", "4.3+3.88", "copied"),
        (r"Write $0.5\overline{10}$ as a fraction.", r"\frac{101}{198}", r"0.5\overline{10}", "copied"),
        (r"Which is larger, $2\sqrt3$ or $3$?", r"2\sqrt{3}", r"2\sqrt3", "equal"),
        (r"Which is larger, $2\sqrt3$ or $3$?", r"\sqrt{12}", r"2\sqrt3", "copied"),
        (r"A side is $\frac12$. Find it.", "0.5", r"\frac12", "equal"),
        (r"Solve $x + 5 = 10$.", "5", "5", "equal"),
        (r"Solve $x + 15x = 3$.", "5x", "x + 4x", "equal"),
        ("", "(x-3)(x+3)", "x^2-9", "equal"),
    ],
)
def test_copied(problem, truth, answer, reason):
    response = f"So $\\boxed{{{answer}}}$."
    assert verify(response, truth, problem=problem).reason == reason
    assert verify(response, truth, VerifierConfig(refuse_copied=False), problem).correct


@pytest.mark.parametrize("key", ["problem", "question", "raw_problem"])
def test_the_reward_reads_the_problem_of_the_row(key):
    row = {"data_source": "math", "solution_str": r"\boxed{x^2-9}", "ground_truth": "(x-3)(x+3)"}
    assert compute_score(**row, extra_info={key: FACTOR})["reason"] == "copied"
    assert compute_score(**row, extra_info={key: FACTOR}, refuse_copied=False)["acc"] == 1.0
    assert compute_score(**row, extra_info={"index": 3, "problem": None})["acc"] == 1.0
    assert compute_score(**row)["acc"] == 1.0
