# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Verdicts on one and on several differences, and what cannot be compared."""

import numpy as np
import pytest

from recipe.htpo.evaluation import Outcomes, band_verdicts, common_prompts, decide, difference, pass_curve

RATES = np.linspace(0.05, 0.75, 200)


def runs(seed, shift=0.0, seeds=1):
    rng = np.random.default_rng(seed)
    return [Outcomes.of_counts(rng.binomial(8, RATES + shift), 8) for _ in range(seeds)]


BASE = runs(0)


def test_three_verdicts():
    found = {name: difference(runs(1, shift), BASE) for name, shift in (("up", 0.2), ("down", -0.05), ("same", 0.0))}
    decisions = decide(found)
    assert {name: decision.verdict for name, decision in decisions.items()} == {
        "up": "better",
        "down": "worse",
        "same": "tied",
    }
    assert decisions["up"].low > 0 > decisions["down"].high
    assert set(band_verdicts(found["up"]).values()) == {"better"}
    assert band_verdicts(found["same"])[1] == "tied"


def test_holm_takes_the_smallest_p_value_times_the_number_of_comparisons():
    found = {str(seed): difference(runs(seed, 0.01), BASE) for seed in range(1, 6)}
    decisions = sorted(decide(found).values(), key=lambda decision: decision.p_value)
    stepped = np.maximum.accumulate([(5 - i) * decision.p_value for i, decision in enumerate(decisions)])
    assert [decision.adjusted_p_value for decision in decisions] == pytest.approx(np.minimum(stepped, 1.0))


def test_many_comparisons_with_nothing_seldom_find_something():
    # Twenty arms that are the baseline: alone one of them looks different, together none.
    found = {str(seed): difference(runs(seed), BASE) for seed in range(100, 120)}
    decisions = decide(found)
    assert {decision.verdict for decision in decisions.values()} == {"tied"}


def test_a_budget_that_was_not_computed():
    with pytest.raises(ValueError, match="k=3 was not computed; choose one of 1, 2, 4, 8"):
        decide({"a": difference(BASE, BASE)}, k=3)
    assert decide({}) == {}


def test_other_prompts_are_refused_by_name():
    one = Outcomes.of_counts([1, 1, 0], 2, ["a", "b", "c"])
    two = Outcomes.of_counts([1, 0, 2], 2, ["a", "b", "x"])
    with pytest.raises(ValueError, match="1 of 3 prompts were not evaluated here, such as 'c'"):
        difference([one], [two])
    with pytest.raises(ValueError, match="runs have"):
        difference([one], [two.take(["a", "b"])])
    both = common_prompts([one, two])
    assert both == ["a", "b"]
    assert difference([one.take(both)], [two.take(both)], (1,)).value == pytest.approx([0.25])


def test_unlike_numbers_of_seeds_cannot_be_paired():
    with pytest.raises(ValueError, match="paired=False"):
        difference(runs(1, seeds=2), BASE)
    with pytest.raises(ValueError, match="no run"):
        pass_curve([])


def test_samples_of_a_prompt_that_stands_in_many_rows_are_counted_together():
    found = Outcomes.of_samples([("p", 1.0), ("q", 0.0), ("p", 0.0), ("p", 1.0)])
    assert (found.prompts, found.correct.tolist(), found.samples.tolist()) == (("p", "q"), [2, 0], [3, 1])
    assert found.least_samples == 1


def test_outcomes_that_contradict_themselves():
    with pytest.raises(ValueError, match="name a prompt twice"):
        Outcomes.of_counts([1, 1], 2, ["a", "a"])
    with pytest.raises(ValueError, match="at most all"):
        Outcomes.of_counts([3], 2)
    with pytest.raises(ValueError, match="one count"):
        Outcomes.of_counts([1], 2, ["a", "b"])
