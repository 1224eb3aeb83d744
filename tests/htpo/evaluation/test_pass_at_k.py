# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""pass@k and maj@k against enumeration of all subsets, exact fractions, and two packages of others."""

import random
from collections import Counter
from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
import passk_inference
import pytest
import scorio.eval
from hypothesis import given
from hypothesis import strategies as st

from recipe.htpo.evaluation import avg_at_n, maj_at_k, pass_at_k, powers_of_two


@pytest.mark.parametrize("n", range(1, 9))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample(n):
    ks = range(1, n + 1)
    for correct in range(n + 1):
        found = pass_at_k([correct], n, ks)[0]
        for k in ks:
            subsets = list(combinations([True] * correct + [False] * (n - correct), k))
            assert found[k - 1] == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-15)


@pytest.mark.parametrize("n", [64, 1024, 20_000])
def test_no_number_of_samples_is_too_large(n):
    rng = random.Random(n)
    counts = [0, 1, 2, n // 2, n - 1, n] + [rng.randrange(n) for _ in range(20)]
    ks = (1, 2, n // 3, n - 1, n)
    for correct, found in zip(counts, pass_at_k(counts, n, ks), strict=True):
        exact = [float(1 - Fraction(comb(n - correct, k), comb(n, k))) for k in ks]
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-11)


def test_the_packages_of_others_agree():
    rng = np.random.default_rng(0)
    correct, n = rng.integers(0, 33, 40), 32
    matrix = np.arange(n) < correct[:, None]
    ks = powers_of_two(n)
    found = pass_at_k(correct, n, ks)
    for k, column in zip(ks, found.T, strict=True):
        np.testing.assert_allclose(column, passk_inference.pass_at_k(correct, n, k), atol=1e-13)
        assert column.mean() == pytest.approx(scorio.eval.pass_at_k(matrix.astype(int), k), abs=1e-12)


def test_prompts_may_have_different_numbers_of_samples():
    found = pass_at_k([1, 1, 0], [2, 4, 8], (1, 2))
    np.testing.assert_allclose(found, [[1 / 2, 1], [1 / 4, 1 / 2], [0, 0]])
    np.testing.assert_allclose(avg_at_n([1, 1, 0], [2, 4, 8]), found[:, 0])


@pytest.mark.parametrize(
    ("correct", "samples", "ks", "says"),
    [
        ([3], 2, (1,), "3 of 2 samples cannot be right"),
        ([1], 2, (4,), "the fewest are 2"),
        ([1], 2, (0,), "k within 1"),
        ([1], 2, (), "k within 1"),
        ([0.5], 2, (1,), "integers"),
        ([-1], 2, (1,), "integers"),
    ],
)
def test_what_is_no_count_is_refused(correct, samples, ks, says):
    with pytest.raises(ValueError, match=says):
        pass_at_k(correct, samples, ks)


def test_budgets_that_are_shown():
    assert [powers_of_two(n) for n in (1, 2, 3, 8, 12)] == [(1,), (1, 2), (1, 2, 3), (1, 2, 4, 8), (1, 2, 4, 8, 12)]
    with pytest.raises(ValueError, match="at least one sample"):
        powers_of_two(0)


def enumerated_majority(answers, right, k):
    """Mean over all subsets of the share of the winners that are right."""
    total = Fraction(0)
    for subset in combinations(answers, k):
        votes = Counter(answer for answer in subset if answer)
        winners = [answer for answer, count in votes.items() if count == max(votes.values())]
        total += Fraction(sum(answer in right for answer in winners), max(len(winners), 1))
    return float(total / comb(len(answers), k))


@given(st.lists(st.sampled_from(["", "a", "b", "c", "d"]), min_size=1, max_size=8), st.sets(st.sampled_from("abcd")))
def test_maj_at_k_is_the_mean_over_all_subsets(answers, right):
    ks = range(1, len(answers) + 1)
    found = maj_at_k(answers, [answer in right for answer in answers], ks)
    assert found == pytest.approx([enumerated_majority(answers, right, k) for k in ks], abs=1e-12)


def test_maj_at_k_of_two_answers_is_scorios_where_no_tie_can_be():
    n, correct = 31, 14
    verdicts = np.arange(n) < correct
    ks = (1, 3, 15, 31)
    expected = [scorio.eval.maj_at_k(verdicts[None].astype(int), k) for k in ks]
    np.testing.assert_allclose(maj_at_k(["r" if v else "w" for v in verdicts], verdicts, ks), expected, atol=1e-12)


def test_a_large_vote_is_a_probability():
    rng = np.random.default_rng(0)
    answers = [str(answer) for answer in rng.geometric(0.1, 400)]
    found = maj_at_k(answers, [answer == "1" for answer in answers], powers_of_two(64))
    assert found[0] == pytest.approx(answers.count("1") / 400)
    # A draw decides a tie of two: maj@2 is maj@1.
    assert found[1] == pytest.approx(found[0]) and (np.diff(found) > -1e-12).all() and found[-1] <= 1


def test_what_is_no_vote_is_refused():
    with pytest.raises(ValueError, match="one verdict per answer"):
        maj_at_k(["a"], [True, False], (1,))
    with pytest.raises(ValueError, match="number of samples 1"):
        maj_at_k(["a"], [True], (2,))
