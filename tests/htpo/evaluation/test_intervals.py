# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Intervals and bands: against other packages' standard errors and bands, and exact cases."""

import numpy as np
import passk_inference
import pytest
from scipy.stats import t, ttest_1samp
from statsmodels.regression.linear_model import OLS

from recipe.htpo.evaluation import Outcomes, difference, pass_curve
from recipe.htpo.evaluation.intervals import Factor, estimate


def outcomes(rng, prompts=80, n=16, rates=None):
    rates = rng.beta(0.6, 1.0, prompts) if rates is None else rates
    return Outcomes.of_counts(rng.binomial(n, rates), n)


def test_the_standard_error_is_clustered_by_prompt():
    rng = np.random.default_rng(0)
    found = outcomes(rng)
    # One row per sample, and the clustered error of their mean (statsmodels applies G/(G-1) and (N-1)/(N-K)).
    rows = np.concatenate([[1.0] * c + [0.0] * (n - c) for c, n in zip(found.correct, found.samples, strict=True)])
    fit = OLS(rows, np.ones_like(rows)).fit(cov_type="cluster", cov_kwds={"groups": np.repeat(np.arange(80), 16)})
    assert pass_curve([found], (1,)).standard_error[0] == pytest.approx(fit.bse[0], rel=1e-9)


def test_the_band_is_that_of_another_package():
    rng = np.random.default_rng(1)
    rates = rng.beta(0.6, 1.0, 200)
    ours, base = (outcomes(rng, n=32, rates=rates**power) for power in (0.9, 1.0))
    ks = (1, 4, 16)
    found = difference([ours], [base], ks)
    other = passk_inference.compare(base.correct, base.samples, ours.correct, ours.samples, ks=ks)
    np.testing.assert_allclose(found.value, other["mean"], atol=1e-12)
    np.testing.assert_allclose(found.standard_error, other["se"], atol=1e-12)
    # Both draw: theirs normal multipliers, ours prompts.
    np.testing.assert_allclose(found.band_low, other["lower"], atol=0.2 * found.standard_error[0])
    np.testing.assert_allclose(found.band_high, other["upper"], atol=0.2 * found.standard_error[0])


def test_a_band_holds_the_intervals_and_a_single_budget_needs_none():
    rng = np.random.default_rng(2)
    curve = pass_curve([outcomes(rng)])
    assert (curve.band_low < curve.low).all() and (curve.band_high > curve.high).all()
    alone = pass_curve([outcomes(rng)], (1,))
    assert (alone.low, alone.high) == (alone.band_low, alone.band_high)


def test_the_p_value_is_the_level_at_which_the_interval_ends_at_zero():
    rng = np.random.default_rng(3)
    for shift in (0.0, 0.02, 0.05, 0.3):
        values = rng.normal(shift, 0.2, (4, 60, 1)) + rng.normal(0, 0.02, (4, 1, 1))
        found = estimate([Factor(values, paired=True)], (1,))
        assert (found.p_value[0] < 0.05) == (found.low[0] > 0 or found.high[0] < 0)


def test_pairing_by_prompt_narrows_the_interval():
    rng = np.random.default_rng(4)
    rates = rng.beta(0.6, 1.0, 80)
    one, two = outcomes(rng, n=64, rates=rates), outcomes(rng, n=64, rates=rates)
    alone = np.hypot(pass_curve([one], (1,)).standard_error, pass_curve([two], (1,)).standard_error)
    assert difference([two], [one], (1,)).standard_error < 0.3 * alone


def test_the_order_of_prompts_means_nothing():
    rng = np.random.default_rng(5)
    one, two = outcomes(rng), outcomes(rng)
    turned = two.take(two.prompts[::-1])
    np.testing.assert_allclose(difference([turned], [one]).value, difference([two], [one]).value)


def test_runs_that_differ_widen_the_interval_over_seeds():
    rng = np.random.default_rng(6)
    rates = rng.uniform(0.3, 0.6, 60)
    alike = [outcomes(rng, rates=rates) for _ in range(4)]
    apart = [outcomes(rng, rates=rates + shift) for shift in (-0.2, -0.1, 0.1, 0.2)]
    narrow, wide = pass_curve(alike, (1,)), pass_curve(apart, (1,))
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_seeds_that_agree_by_chance_take_nothing_off_the_prompts():
    rng = np.random.default_rng(10)
    values = rng.normal(0.0, 0.1, (5, 60, 1)) + rng.normal(0.0, 0.05, (1, 60, 1))
    values -= values.mean(1, keepdims=True)
    found = estimate([Factor(values, paired=True)], (1,))
    assert found.standard_error[0] == pytest.approx(values.mean(0).std(ddof=1) / 60**0.5)


def test_unpaired_seeds_may_be_of_different_number():
    rng = np.random.default_rng(7)
    rates = rng.uniform(0.2, 0.6, 60)
    better = [outcomes(rng, rates=rates + 0.2) for _ in range(3)]
    base = [outcomes(rng, rates=rates) for _ in range(5)]
    found = difference(better, base, paired=False)
    assert found.low[0] > 0 and found.low[0] < 0.2 < found.high[0]


def test_values_that_are_all_the_same_are_no_certainty():
    never = Outcomes.of_counts([0] * 30, 4)
    curve = pass_curve([never], (1, 4))
    # Clopper-Pearson's upper end for 0 of 30.
    np.testing.assert_allclose(curve.high, 1 - 0.025 ** (1 / 30))
    assert (curve.low == 0).all() and (curve.standard_error == 0).all() and (curve.band_high == curve.high).all()
    same = difference([never], [never], (1, 4))
    assert (same.value == 0).all() and (same.p_value == 1).all() and (same.low < 0).all() and (same.high > 0).all()
    always = Outcomes.of_counts([4] * 30, 4)
    changed = difference([always], [never], (1, 4))
    assert (changed.value == 1).all() and (changed.low > 0.7).all() and (changed.p_value < 1e-6).all()


def test_a_rate_near_its_end_has_a_skewed_interval_within_it():
    curve = pass_curve([Outcomes.of_counts([4] * 60 + [1, 2], 4)], (1, 2, 4))
    inner = curve.standard_error > 0
    assert (curve.high[inner] < 1).all() and (curve.low > 0).all()
    assert (curve.value - curve.low > 1.5 * (curve.high - curve.value))[inner].all()


def test_what_would_have_been_found():
    rng = np.random.default_rng(8)
    found = pass_curve([outcomes(rng)], (1,))
    np.testing.assert_allclose(found.detectable, (t.isf(0.025, 79) + t.isf(0.2, 79)) * found.standard_error)
    # Few seeds find little, and what is the same everywhere finds no less than its interval's half-width.
    few = difference([outcomes(rng) for _ in range(3)], [outcomes(rng) for _ in range(3)], (1,))
    assert few.detectable > (few.high - few.low) / 2
    always = Outcomes.of_counts([4] * 30, 4)
    same = difference([always], [always], (1,))
    np.testing.assert_allclose(same.detectable, same.high)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_seeds_alone_give_students_interval(seeds):
    """Prompts that are all alike leave the seeds' own means, whose interval is the textbook's."""
    shifts = np.random.default_rng(9).normal(0, 0.05, seeds)
    found = estimate([Factor(np.tile(shifts[:, None, None], (1, 40, 1)), paired=True)], (1,))
    low, high = ttest_1samp(shifts, 0).confidence_interval()
    assert (found.low[0], found.high[0]) == pytest.approx((low, high))
    assert found.p_value[0] == pytest.approx(ttest_1samp(shifts, 0).pvalue, rel=1e-6)


def test_one_prompt_has_no_interval():
    with pytest.raises(ValueError, match="at least two"):
        pass_curve([Outcomes.of_counts([1], 2)])
