# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics: values by hand, additivity over any split of the batch, and empty groups."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from objective_batches import CLIP, batches, loss_of, random_batch, split_of
from verl.trainer.ppo.core_algos import agg_loss

from recipe.htpo.objective import (
    TokenGroups,
    destruction_warning,
    group_sums,
    load_preset,
    metrics_from_sums,
    token_loss,
)


def _sums(batch, config):
    _, output, _ = loss_of(batch, config)
    return group_sums(output, entropy=batch["ent"])


def test_six_tokens_by_hand():
    """Group 2 above, below and inside the clip range, group 4 below, group 1 and group 6 detached."""
    ratio = torch.tensor([2.0, 0.5, 1.0, 0.5, 1.0, 1.0, 7.0], dtype=torch.float64)
    group = torch.tensor([2, 2, 2, 4, 1, 6, 0], dtype=torch.int8)
    adv = torch.tensor([1.0, 1.0, -1.0, -1.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    entropy = torch.tensor([1.0, 2.0, 3.0, 4.0, 0.0, 5.0, torch.nan], dtype=torch.float64)
    mark = torch.arange(7)
    groups = TokenGroups.of(group, mark == 4, mark == 5)
    log_prob = ratio.log().requires_grad_()
    output = token_loss(log_prob, ratio * 0, adv, group > 0, groups, load_preset("htpo_paper"), *CLIP)
    metrics = metrics_from_sums(group_sums(output, entropy=entropy))

    assert metrics["htpo/frac_group2"] == pytest.approx(3 / 6)
    assert metrics["htpo/frac_group4"] == pytest.approx(1 / 6)
    assert metrics["htpo/clip_frac_group2"] == pytest.approx(1 / 3)  # 2.0 with A > 0
    assert metrics["htpo/clip_frac_group4"] == pytest.approx(1.0)  # 0.5 with A < 0
    assert metrics["htpo/replaced_frac_group2"] == pytest.approx(1 / 3)
    assert metrics["htpo/detach_low_frac_group1"] == metrics["htpo/detach_high_frac_group6"] == 1.0
    assert metrics["htpo/entropy_group2"] == pytest.approx(2.0)
    assert metrics["htpo/ratio_group2"] == pytest.approx(3.5 / 3)
    # Losses: -1.28, -0.5, +1 in group 2 and 0.8 in group 4; the gradients have the same size.
    for share in ("loss_share", "grad_share"):
        assert metrics[f"htpo/{share}_group2"] == pytest.approx(2.78 / 3.58)
        assert metrics[f"htpo/{share}_group4"] == pytest.approx(0.8 / 3.58)
    assert metrics["htpo/replaced_above_frac"] == metrics["htpo/replaced_below_frac"] == pytest.approx(1 / 6)
    assert metrics["htpo/replaced_frac"] == pytest.approx(2 / 6)
    assert metrics["htpo/treated_frac"] == pytest.approx(4 / 6)
    assert metrics["htpo/replaced_fallen_frac"] == 0.0
    assert metrics["htpo/detach_frac_low"] == metrics["htpo/detach_frac_high"] == pytest.approx(1 / 6)
    assert metrics["htpo/sign_mismatch_frac"] == pytest.approx(1 / 6)
    assert metrics["htpo/entropy_zero_frac"] == pytest.approx(1 / 6)
    assert metrics["actor/pg_clipfrac"] == pytest.approx(2 / 6)
    assert metrics["actor/ppo_kl"] == pytest.approx(-(math.log(2.0) - 2 * math.log(2.0)) / 6)


@pytest.mark.parametrize("preset", ["htpo_paper", "htpo_released", "entropy_80_20"])
@given(batch=batches(), part_of_row=st.lists(st.integers(0, 3), min_size=10, max_size=10))
def test_any_split_of_the_batch_gives_the_same_metrics(preset, batch, part_of_row):
    config = load_preset(preset)
    part = torch.tensor(part_of_row)[: len(batch["hard"])]
    pieces = [{name: value[part == i] for name, value in batch.items()} for i in part.unique()]
    sums = [_sums(piece, config) for piece in pieces]
    total = {name: sum(part[name] for part in sums) for name in sums[0]}
    expected, got = metrics_from_sums(_sums(batch, config)), metrics_from_sums(total)
    assert got == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert all(math.isfinite(value) for value in got.values())


@given(batch=batches())
def test_packed_tokens_give_the_same_loss_and_sums(batch):
    config = load_preset("htpo_paper")
    groups, output, gradient = loss_of(batch, config)
    valid = batch["mask"] > 0
    packed_groups = TokenGroups.of(groups.group[valid], groups.detach_low[valid], groups.detach_high[valid])
    packed = {name: batch[name][valid] for name in ("logp", "old", "adv", "mask", "ent")}
    log_prob = packed["logp"].clone().requires_grad_()
    packed_output = token_loss(log_prob, packed["old"], packed["adv"], packed["mask"], packed_groups, config, *CLIP)
    (packed_gradient,) = torch.autograd.grad(packed_output.loss.sum(), log_prob)
    assert torch.equal(packed_output.loss, output.loss[valid])
    assert torch.equal(packed_gradient, gradient[valid])
    sums = group_sums(packed_output, entropy=packed["ent"])
    assert metrics_from_sums(sums) == pytest.approx(metrics_from_sums(_sums(batch, config)), rel=1e-12, abs=1e-12)


@given(seed=st.integers(0, 1000), order=st.permutations(range(8)), parts=st.integers(1, 4))
def test_micro_batches_of_a_global_batch_give_the_same_loss_gradient(seed, order, parts):
    """Per-token losses do not depend on the batch around them, so sums over micro-batches are those of the whole."""
    batch, config = random_batch(seed, rows=8), load_preset("htpo_paper")
    _, whole, gradient = loss_of(batch, config)
    for rows in torch.tensor(order).chunk(parts):
        _, piece, piece_gradient = loss_of({name: value[rows] for name, value in batch.items()}, config)
        assert torch.equal(piece.loss, whole.loss[rows])
        assert torch.equal(piece_gradient, gradient[rows])


def test_a_batch_of_padding_rows_gives_zeros():
    batch = random_batch(3)
    batch["mask"] = torch.zeros_like(batch["mask"])
    metrics = metrics_from_sums(_sums(batch, load_preset("htpo_paper")))
    assert set(metrics.values()) == {0.0}


@pytest.mark.parametrize("preset", ["htpo", "htpo_paper", "htpo_released_signfix", "ce_gppo"])
@pytest.mark.parametrize("mode", ["token-mean", "seq-mean-token-mean"])
def test_gradient_shares_are_those_of_the_aggregated_loss(preset, mode):
    """No autograd pass makes them, so autograd checks them."""
    batch, config = random_batch(4, rows=16, width=60), load_preset(preset)
    groups = split_of(batch, config)
    log_prob = batch["logp"].clone().requires_grad_()
    output = token_loss(log_prob, batch["old"], batch["adv"], batch["mask"], groups, config, *CLIP)
    (gradient,) = torch.autograd.grad(agg_loss(output.loss, batch["mask"], mode), log_prob)
    row_weight = None if mode == "token-mean" else 1 / (batch["mask"].sum(-1, keepdim=True) + 1e-8)
    metrics = metrics_from_sums(group_sums(output, row_weight))
    for group_id in range(1, 9):
        expected = gradient.abs()[groups.group == group_id].sum() / gradient.abs().sum()
        assert metrics[f"htpo/grad_share_group{group_id}"] == pytest.approx(expected.item(), rel=1e-9)
    assert "htpo/entropy_group1" not in metrics


def test_fallen_tokens_that_are_pushed_on_raise_the_warning():
    ratio = torch.full((100,), 0.05, dtype=torch.float64)
    ratio[1:] = 1.0
    adv = -torch.ones_like(ratio)
    groups = TokenGroups(torch.full((100,), 4, dtype=torch.int8))
    arguments = (ratio.log(), 0 * ratio, adv, ratio > 0, groups)
    unbounded = metrics_from_sums(group_sums(token_loss(*arguments, load_preset("htpo_paper"), *CLIP)))
    assert unbounded["htpo/replaced_fallen_frac"] == pytest.approx(0.01)
    assert "HTPO_FORK_TERMS_UNBOUNDED: 1.00% of the step's tokens" in destruction_warning(unbounded)
    bounded = metrics_from_sums(group_sums(token_loss(*arguments, load_preset("htpo"), *CLIP)))
    assert bounded["htpo/replaced_fallen_frac"] == 0.0 and destruction_warning(bounded) is None


@pytest.mark.parametrize(
    "preset, group, advantage, share",
    [
        # 1/r raises a token again, the more the further it has fallen; so does the released penalty.
        ("aspo", 2, 1.0, 0.0),
        ("htpo_released", 4, -1.0, 0.0),
        ("htpo_released", 2, 1.0, 1.0),
        ("htpo_released_signfix", 2, 1.0, 0.0),
        ("htpo_released_signfix", 4, -1.0, 1.0),
    ],
)
def test_only_fallen_tokens_that_are_pushed_down_count(preset, group, advantage, share):
    log_prob = torch.full((8,), -3.0)
    groups = TokenGroups(torch.full((8,), group, dtype=torch.int8))
    one = torch.ones(8)
    output = token_loss(log_prob, 0 * one, advantage * one, one, groups, load_preset(preset), *CLIP)
    assert output.replaced.all()
    metrics = metrics_from_sums(group_sums(output))
    assert metrics["htpo/replaced_fallen_frac"] == share
    assert (destruction_warning(metrics) is None) == (share == 0)


def test_the_mean_ratio_of_many_tokens_near_1():
    """In fp32, in which their sum has no room for what they differ by."""
    log_prob = 4e-4 + 1e-3 * torch.randn(1 << 18, generator=torch.Generator().manual_seed(0))
    one = torch.ones_like(log_prob)
    groups = TokenGroups(torch.full(one.shape, 3, dtype=torch.int8))
    output = token_loss(log_prob, 0 * one, one, one, groups, load_preset("dapo"), *CLIP)
    mean = metrics_from_sums(group_sums(output))["htpo/ratio_group3"]
    assert mean == pytest.approx(output.ratio.double().mean().item(), abs=1e-7)
