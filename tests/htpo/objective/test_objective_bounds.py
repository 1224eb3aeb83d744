# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Row parameters of the fork terms: scale, gate, floor, ceiling; CE-GPPO; and what bounded terms cannot do."""

import pytest
import torch
from hypothesis import given
from objective_batches import CLIP, batches, loss_of, one_token

from recipe.htpo.objective import CELL_NAMES, load_preset

FORK = {"rule": "penalize", "region": "below"}


def _row(cell, **row):
    return load_preset("dapo", {"cells": {cell: row}})


def test_scale():
    config = _row("hard_wrong_high", **FORK, scale=0.25)
    assert one_token(4, 0.5, -1.0, config) == pytest.approx((0.2, 0.2))
    config = _row("hard_correct_high", rule="encourage", region="above", scale=0.5)
    assert one_token(2, 2.0, 1.0, config) == pytest.approx((-0.64, -0.64))


def test_the_sign_gate_lets_only_clipped_tokens_through():
    """A wrong response with A > 0: PPO still has a gradient below the range, and keeps it."""
    free, gated = _row("hard_wrong_high", **FORK), _row("hard_wrong_high", **FORK, gate="ratio_and_sign")
    assert one_token(4, 0.5, 1.0, free) == pytest.approx((-0.8, -0.8))
    assert one_token(4, 0.5, 1.0, gated) == pytest.approx((-0.5, -0.5))
    assert one_token(4, 0.5, -1.0, gated) == one_token(4, 0.5, -1.0, free) == pytest.approx((0.8, 0.8))


@pytest.mark.parametrize("ratio,expected", [(0.79, 0.8), (0.7, 0.8), (0.69, 0.0), (0.05, 0.0)])
def test_below_the_floor_the_clip_ends_the_gradient_again(ratio, expected):
    config = _row("hard_wrong_high", **FORK, floor=0.7)
    assert one_token(4, ratio, -1.0, config) == pytest.approx((0.8, expected))


@pytest.mark.parametrize("ratio,expected", [(1.3, -1.28), (2.0, -1.28), (2.1, 0.0)])
def test_above_the_ceiling_too(ratio, expected):
    config = _row("hard_correct_high", rule="encourage", region="above", ceiling=2.0)
    assert one_token(2, ratio, 1.0, config) == pytest.approx((-1.28, expected))


@pytest.mark.parametrize("group", range(1, 9))
def test_the_default_preset_leaves_a_token_alone_that_has_left_its_bounds(group):
    for ratio, adv in ((0.49, -1.0), (0.01, -1.0), (1.3, 1.0), (50.0, 1.0)):
        assert one_token(group, ratio, adv, load_preset("htpo"))[1] == 0.0


def _ce_gppo(ratio, adv, low, high, c, below, above):
    """Loss and gradient as in the table of the public code."""
    if adv < 0 and ratio < 1 - low:
        term = -below * (1 - low) * adv
    elif adv > 0 and ratio > 1 + high:
        term = -above * (1 + high) * adv
    else:
        term = -ratio * adv
    return (-adv * c, 0.0) if adv < 0 and term > -adv * c else (term, term)


@pytest.mark.parametrize("group", range(1, 9))
@pytest.mark.parametrize("below,above", [(0.5, 1.0), (0.75, 1.0), (1.0, 0.25)])
def test_ce_gppo_is_its_formula(group, below, above):
    row = {"scale": below, "scale_above": above}
    config = load_preset("ce_gppo", {"cells": {name: row for name in CELL_NAMES}})
    for ratio in (0.05, 0.5, 0.9, 1.1, 1.5, 20.0):
        for adv in (-1.5, 0.7):
            expected = _ce_gppo(ratio, adv, *CLIP, below, above)
            assert one_token(group, ratio, adv, config) == pytest.approx(expected, rel=1e-12), (ratio, adv)


@given(batch=batches())
def test_htpos_fork_terms_are_ce_gppo_on_groups_2_4_and_8(batch):
    ce_gppo = load_preset("ce_gppo").to_mapping()["cells"]
    forks = ("hard_correct_high", "hard_wrong_high", "easy_wrong_high")
    restricted = {name: {**ce_gppo[name], "scale": 1.0, "scale_above": None} for name in forks}
    # Each fork has one side; the sign gate keeps the sides apart where correctness and sign of A agree.
    regions = {"hard_correct_high": "above", "hard_wrong_high": "below", "easy_wrong_high": "below"}
    for name, region in regions.items():
        restricted[name]["region"] = region
    gated = {name: {"gate": "ratio_and_sign"} for name in forks}
    detached = load_preset("htpo_paper").to_mapping()["cells"]
    rows = restricted | {name: detached[name] for name in ("hard_correct_low", "easy_correct_high")}
    _, expected, expected_gradient = loss_of(batch, load_preset("dapo", {"cells": rows}))
    _, got, gradient = loss_of(batch, load_preset("htpo_paper", {"cells": gated}))
    assert torch.equal(got.loss, expected.loss) and torch.equal(gradient, expected_gradient)
    assert torch.equal(got.replaced, expected.replaced)


@given(batch=batches())
def test_the_gradient_is_the_loss_where_a_token_is_alive(batch):
    for preset in ("htpo", "htpo_paper", "htpo_released", "ce_gppo", "entropy_80_20"):
        _, output, gradient = loss_of(batch, load_preset(preset))
        expected = torch.where(output.alive, output.loss.detach(), 0.0)
        torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=0.0)
