# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""How often the 95 % intervals hold the truth, by simulation, for the ways they are used.

Prompts and seeds are drawn from populations whose mean pass@k is known; a prompt's pass rates spread over the whole
range, as those of a model between warm-up and the end of training do. The few daily draws bound gross errors only;
the long form holds the shares to 93..97 %, give or take three standard errors of its draws, which are 300, or as many
as `COVERAGE_DRAWS` says: 1,000 for the figures of docs/evaluation.md.
"""

import os
from functools import cache

import numpy as np
import pytest
from scipy.special import expit

from recipe.htpo.evaluation import Outcomes, difference, pass_curve

KS = (1, 4, 16)
N = 16
POPULATION = np.random.default_rng(99).normal(-0.6, 1.6, 4000)
"""Log-odds of prompts."""
SHIFT = np.random.default_rng(98).normal(0.3, 0.4, 4000)
"""What training changes of them, prompt by prompt."""
DRAWS = int(os.environ.get("COVERAGE_DRAWS", 300))
DRAWN = 3 * (0.97 * 0.03 / DRAWS) ** 0.5
"""Three standard errors of a share of 97 %, for there are more than fifty shares."""
SEED_SPREAD = 0.15
"""Standard deviation of log-odds over seeds of training."""


def true_pass(log_odds, ks=KS):
    """`[K]` mean over the population and over seeds (Gauss-Hermite)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(21)
    rates = expit(log_odds[:, None] + SEED_SPREAD * nodes)
    return np.array([(1 - (1 - rates) ** k).mean(0) @ weights / weights.sum() for k in ks])


@cache
def truths():
    before, after = true_pass(POPULATION), true_pass(POPULATION + SHIFT)
    without_seeds = np.array([(1 - (1 - expit(POPULATION)) ** k).mean() for k in KS])
    shifted = np.array([(1 - (1 - expit(POPULATION + SHIFT)) ** k).mean() for k in KS])
    return {
        "prompts": without_seeds,
        "paired": shifted - without_seeds,
        "seeds": before,
        "paired_seeds": after - before,
        "unpaired_seeds": after - before,
    }


def draw(rng, log_odds, seeds):
    moved = log_odds + SEED_SPREAD * rng.normal(size=(seeds, 1)) * (seeds > 1)
    return [Outcomes.of_counts(rng.binomial(N, expit(row)), N) for row in moved]


def coverage(way, draws, prompts, seeds):
    """`[K]` shares of intervals that hold the truth, and the share of bands that hold all of it."""
    rng = np.random.default_rng(prompts + 10 * seeds)
    truth = truths()[way]
    inside, banded = np.zeros(len(KS)), 0
    for _ in range(draws):
        rows = rng.integers(0, len(POPULATION), prompts)
        base, changed = POPULATION[rows], (POPULATION + SHIFT)[rows]
        if way in ("prompts", "seeds"):
            found = pass_curve(draw(rng, base, seeds), KS)
        else:
            found = difference(
                draw(rng, changed, seeds), draw(rng, base, seeds), KS, paired=not way.startswith("unpaired")
            )
        inside += (found.low <= truth) & (truth <= found.high)
        banded += bool(((found.band_low <= truth) & (truth <= found.band_high)).all())
    return inside / draws, banded / draws


WAYS = [
    ("prompts", 256, 1),
    ("prompts", 64, 1),
    ("paired", 256, 1),
    ("paired", 64, 1),
    ("seeds", 256, 3),
    ("seeds", 128, 5),
    ("seeds", 256, 2),
    ("paired_seeds", 256, 2),
    ("paired_seeds", 256, 3),
    ("paired_seeds", 256, 5),
    ("paired_seeds", 128, 10),
    ("unpaired_seeds", 256, 2),
    ("unpaired_seeds", 256, 3),
    ("unpaired_seeds", 128, 5),
]


@pytest.mark.parametrize(("way", "prompts", "seeds"), [("prompts", 64, 1), ("paired", 64, 1), ("seeds", 64, 3)])
def test_gross_errors_show_in_few_draws(way, prompts, seeds):
    intervals, band = coverage(way, 60, prompts, seeds)
    assert (intervals > 0.85).all() and band > 0.85


@pytest.mark.slow
@pytest.mark.parametrize(("way", "prompts", "seeds"), WAYS)
def test_the_intervals_hold_the_truth_as_often_as_they_say(way, prompts, seeds):
    intervals, band = coverage(way, DRAWS, prompts, seeds)
    print(f"{way}, {prompts} prompts x {seeds} seeds: intervals {intervals}, band {band}")
    # Two seeds tell so little that the interval is rather too wide.
    highest = 1.0 if seeds == 2 else 0.97 + DRAWN
    assert (0.93 - DRAWN <= intervals).all() and (intervals <= highest).all()
    assert 0.93 - DRAWN <= band <= highest
