# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A lab run trains a preset with the loss, averaging, clip and KL term that the preset asks for."""

import pytest
import torch
from verl.trainer.ppo.core_algos import agg_loss, get_policy_loss_fn

from recipe.htpo.inspect.totals import LAB_NAMES
from recipe.htpo.lab.policy_loss import CLIP, COUNTS, PolicyLoss, settings_of
from recipe.htpo.lab.regime import load_regime
from recipe.htpo.objective import TokenGroups, group_sums, load_preset, metrics_from_sums, preset_names, token_loss

SHAPE = (4, 6)


def policy_loss(preset):
    settings = settings_of(preset, 66)
    clip = {name: settings.pop(name) for name in CLIP if name in settings}
    return PolicyLoss(load_preset(preset), load_regime("off_policy", clip), settings)


@pytest.fixture
def batch():
    random = torch.Generator().manual_seed(0)
    mask = torch.arange(SHAPE[1]) < torch.tensor([6, 3, 5, 1])[:, None]
    old = -3 * torch.rand(SHAPE, generator=random)
    log_probs = (old + 2 * torch.rand(SHAPE, generator=random) - 1)[mask].requires_grad_()
    advantages = torch.tensor([1.5, -1.5, 0.5, -0.5])[:, None].expand(SHAPE)
    high = torch.rand(SHAPE, generator=random) > 0.5
    codes = ((torch.tensor([1, 3, 5, 7])[:, None] + high) * mask).to(torch.int8)
    return log_probs, old, advantages, mask, codes


def padded(batch):
    return torch.zeros(SHAPE).masked_scatter(batch[3], batch[0])


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_has_a_loss_in_the_lab(batch, preset):
    loss, *_ = policy_loss(preset)(*batch, None)
    assert loss.isfinite()


@pytest.mark.parametrize("preset", ["cispo", "dppo_tv", "gspo", "kl_cov", "sapo"])
def test_verls_losses(batch, preset):
    lab = policy_loss(preset)
    loss, counts, _ = lab(*batch, None)
    _, old, advantages, mask, _ = batch
    expected, metrics = get_policy_loss_fn(preset)(
        old, padded(batch), advantages, mask, lab.actor.loss_agg_mode, lab.actor, None
    )
    assert lab.actor.policy_loss.loss_mode == preset and loss == expected
    assert counts[3] == pytest.approx(metrics.get("actor/pg_clipfrac", 0.0) * mask.sum().item())


@pytest.mark.parametrize("preset, clip", [("grpo", (0.2, 0.2, 3.0)), ("dapo", (0.2, 0.28, 10.0))])
def test_the_tables_loss_is_averaged_as_the_preset_says(batch, preset, clip):
    lab = policy_loss(preset)
    loss, counts, _ = lab(*batch, None)
    _, old, advantages, mask, codes = batch
    output = token_loss(padded(batch), old, advantages, mask, TokenGroups(codes), load_preset(preset), *clip)
    assert loss == agg_loss(output.loss, mask, "token-mean" if preset == "dapo" else "seq-mean-token-mean")
    assert counts[3] == output.ppo_clip.sum() > 0
    assert counts[5:].tolist() == [((codes == group) & mask).sum() for group in range(1, 9)]


@pytest.mark.parametrize("preset", ["htpo_paper", "htpo_released", "htpo_released_signfix", "aspo"])
def test_the_shares_are_those_of_the_real_stacks_metrics(preset):
    """Also where tokens have fallen, which some of the terms push up again."""
    random = torch.Generator().manual_seed(0)
    mask = torch.ones(8, 64, dtype=torch.bool)
    old = -torch.rand(mask.shape, generator=random)
    log_probs = old + 2 * torch.randn(mask.shape, generator=random)
    codes = torch.randint(1, 9, mask.shape, generator=random).to(torch.int8)
    advantages = torch.where((codes - 1) % 4 < 2, 1.0, -1.0)
    _, counts, output = policy_loss(preset)(log_probs[mask], old, advantages, mask, codes, None)
    metrics = metrics_from_sums(group_sums(output))
    shares = dict(zip(COUNTS, (counts / mask.sum()).tolist(), strict=True))
    for name, share in LAB_NAMES.items():
        assert shares[share] == pytest.approx(metrics[name], abs=1e-6), name
    assert shares["replaced"] + shares["detached"] == pytest.approx(metrics["htpo/treated_frac"], abs=1e-6)


def test_dr_grpo_divides_by_the_longest_response_and_not_by_the_deviation(batch):
    lab = policy_loss("dr_grpo")
    assert not lab.norm_by_std and policy_loss("grpo").norm_by_std
    loss = lab(*batch, None)[0]
    regime = load_regime("off_policy", {"clip_ratio_high": 0.2, "clip_ratio_c": 3.0})
    same = PolicyLoss(load_preset("dr_grpo"), regime, {"loss_agg_mode": "token-sum"})
    torch.testing.assert_close(loss, same(*batch, None)[0] / (66 * SHAPE[0]))


def test_archers_kl_is_that_of_low_entropy_tokens(batch):
    lab = policy_loss("archer")
    reference = batch[1] - 0.5
    with_kl, without = lab(*batch, reference)[0], lab(*batch, None)[0]
    difference = reference - padded(batch)
    low = TokenGroups(batch[4]).low
    expected = 0.001 * ((difference.exp() - difference - 1) * low).sum() / batch[3].sum()
    torch.testing.assert_close(with_kl - without, expected, atol=1e-7, rtol=1e-4)
