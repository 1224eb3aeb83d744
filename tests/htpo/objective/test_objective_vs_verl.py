# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The DAPO preset is verl's vanilla loss to the last bit; 80/20 is that loss on high-entropy tokens alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from objective_batches import CLIP, batches, random_batch, split_of
from verl.trainer.ppo.core_algos import agg_loss, get_policy_loss_fn
from verl.workers.config import FSDPActorConfig

from recipe.htpo.objective import group_sums, load_preset, metrics_from_sums, token_loss

# A fixed global batch, as verl passes it: a batch of padding rows then has loss 0 instead of 0 / 0.
GLOBAL = {"dp_size": 2, "batch_num_tokens": 1000, "global_batch_size": 16}
MODES = ("token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-sum-norm", "seq-mean-token-mean")


def _actor(clip):
    low, high, c = clip
    actor = FSDPActorConfig(
        strategy="fsdp",
        rollout_n=1,
        ppo_micro_batch_size_per_gpu=1,
        clip_ratio_low=low,
        clip_ratio_high=high,
        clip_ratio_c=c,
    )
    actor.global_batch_info.update(GLOBAL)
    return actor


def _vanilla(batch, mode, clip, weights=None, mask=None):
    log_prob = batch["logp"].clone().requires_grad_()
    mask = batch["mask"] if mask is None else mask
    loss_fn = get_policy_loss_fn("vanilla")
    loss, metrics = loss_fn(batch["old"], log_prob, batch["adv"], mask, mode, _actor(clip), weights)
    return loss, torch.autograd.grad(loss, log_prob)[0], metrics


def _ours(batch, preset, mode, clip, weights=None):
    config = load_preset(preset)
    groups = split_of(batch, config)
    log_prob = batch["logp"].clone().requires_grad_()
    output = token_loss(log_prob, batch["old"], batch["adv"], batch["mask"], groups, config, *clip, weights)
    loss = agg_loss(output.loss, batch["mask"], mode, **GLOBAL)
    return loss, torch.autograd.grad(loss, log_prob)[0], groups, output


@pytest.mark.parametrize("mode", MODES)
@given(
    batch=batches(),
    max_delta=st.sampled_from([0.0, 0.3, 25.0]),
    c=st.sampled_from([1.1, 3.0, 10.0]),
    weighted=st.booleans(),
)
def test_dapo_is_vanilla_bit_for_bit(mode, batch, max_delta, c, weighted):
    batch = batch | {"logp": batch["old"] + max_delta * (batch["logp"] - batch["old"])}
    weights = 1 / (1 + batch["ent"]) if weighted else None
    clip = (0.2, 0.28, c)
    expected_loss, expected_gradient, expected_metrics = _vanilla(batch, mode, clip, weights)
    loss, gradient, _, output = _ours(batch, "dapo", mode, clip, weights)
    assert torch.equal(loss, expected_loss)
    assert torch.equal(gradient, expected_gradient)
    metrics = metrics_from_sums(group_sums(output))
    for name, value in expected_metrics.items():
        assert metrics[name] == pytest.approx(value, rel=1e-6, abs=1e-12), name


def test_at_the_dual_clips_constant_itself_autograd_halves_verls_gradient():
    one = torch.ones(1, 1, dtype=torch.float64)
    batch = {"logp": (2 * one).log(), "old": 0 * one, "adv": -one, "mask": one, "ent": one}
    batch |= {name: torch.tensor([True]) for name in ("hard", "correct")}
    clip = (0.2, 0.28, 2.0)
    loss, gradient, _ = _vanilla(batch, "token-sum", clip)
    ours, full, _, _ = _ours(batch, "dapo", "token-sum", clip)
    assert torch.equal(ours, loss) and full.item() == 2 * gradient.item()


@given(batch=batches())
def test_80_20_is_vanilla_on_high_entropy_tokens_with_the_full_denominator(batch):
    loss, gradient, groups, _ = _ours(batch, "entropy_80_20", "token-sum", CLIP)
    expected_loss, expected_gradient, _ = _vanilla(batch, "token-sum", CLIP, mask=groups.high.double())
    assert torch.equal(loss, expected_loss)
    assert torch.equal(gradient, expected_gradient)
    mean = _ours(batch, "entropy_80_20", "token-mean", CLIP)[0]
    torch.testing.assert_close(mean, loss / GLOBAL["batch_num_tokens"], rtol=1e-12, atol=0.0)


def test_on_policy_htpo_is_dapo_without_the_detached_tokens():
    batch = random_batch(8, rows=16, width=800)
    batch["logp"] = batch["old"].clone()
    _, gradient, groups, _ = _ours(batch, "htpo_paper", "token-sum", CLIP)
    _, dapo, _, _ = _ours(batch, "dapo", "token-sum", CLIP)
    assert groups.detach_low.any() and groups.detach_high.any()
    assert torch.equal(gradient, torch.where(groups.detached, 0.0, dapo))
