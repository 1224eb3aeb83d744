# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The family of presets as they are composed and trained: each against its paper's formula, in float64.

The formulas are written for a response at a time, with autograd for the gradient, and share no code with the package or
with verl. What verl has a loss for must also equal that loss bit for bit.
"""

from functools import cache

import pytest
import torch
from omegaconf import OmegaConf
from seams_batches import mini_batch, whole
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.utils.losses import ppo_loss

from recipe.htpo.config import compose
from recipe.htpo.objective import TokenGroups, load_preset, preset_settings
from recipe.htpo.seams.loss import GROUPS_FIELD, SUMS_PREFIX, htpo_loss
from recipe.htpo.seams.trainer import HTPOTrainerSync

CPU = ("platform=cpu", "actor_rollout_ref.model.path=unused")
VERLS = ("cispo", "clip_cov", "dppo_tv", "gspo", "kl_cov", "sapo")
MAX_RESPONSE = 72


@cache
def composed(preset):
    return compose([*CPU, f"objective={preset}"])


@cache
def actor_of(preset, loss_mode=None):
    actor = composed(preset).actor_rollout_ref.actor.copy()
    if loss_mode:
        actor.policy_loss.loss_mode = loss_mode
    return omega_conf_to_dataclass(actor)


class Rows:
    """A mini-batch row by row: valid tokens only, current log-probabilities with gradient."""

    def __init__(self, batch):
        data = batch.data
        self.batch, self.valid = batch, [row > 0 for row in data["response_mask"].unbind()]

        def masked(name):
            return [row[valid] for row, valid in zip(data[name].unbind(), self.valid, strict=True)]

        self.old, self.adv, self.ref = masked("old_log_probs"), masked("advantages"), masked("ref_log_prob")
        # The model's output is shifted by one: the last position predicts nothing of the response.
        self.logp = [row[-len(valid) - 1 : -1][valid] for row, valid in zip(batch.log_probs, self.valid, strict=True)]
        self.entropy = [row[-len(valid) - 1 : -1][valid] for row, valid in zip(batch.entropy, self.valid, strict=True)]
        self.tokens = sum(len(row) for row in self.old)

    def __iter__(self):
        return (parts for parts in zip(self.logp, self.old, self.adv, strict=True) if len(parts[0]))

    def high(self):
        """Tokens at or above the k-th largest entropy of their response, k = 20 % of it."""
        for entropy in (row for row in self.entropy if len(row)):
            k = max(int(0.2 * len(entropy)), 1)
            yield entropy >= entropy.sort(descending=True).values[k - 1]

    def token_mean(self, losses):
        return sum(loss.sum() for loss in losses) / self.tokens

    def sequence_mean(self, losses):
        """verl counts every row of the batch, rows of padding too."""
        return sum(loss.mean() for loss in losses) / len(self.old)


def clipped(r, adv, low, high, c):
    loss = torch.maximum(-adv * r, -adv * r.clamp(1 - low, 1 + high))
    return torch.where(adv < 0, torch.minimum(loss, -adv * c), loss)


def grpo(rows):
    return rows.sequence_mean([clipped((logp - old).exp(), adv, 0.2, 0.2, 3.0) for logp, old, adv in rows])


def dr_grpo(rows):
    sums = [clipped((logp - old).exp(), adv, 0.2, 0.2, 3.0).sum() / MAX_RESPONSE for logp, old, adv in rows]
    return sum(sums) / len(rows.old)


def gspo(rows):
    """The paper's sequence objective, not the token form that verl computes."""
    losses = []
    for logp, old, adv in rows:
        s, a = (logp - old).mean().exp(), adv[0]
        losses.append(torch.maximum(-a * s, -a * s.clamp(1 - 3e-4, 1 + 4e-4)))
    return sum(losses) / len(rows.old)


def cispo(rows):
    return rows.token_mean([-(logp - old).exp().clamp(max=1.2).detach() * adv * logp for logp, old, adv in rows])


def dppo_tv(rows):
    def loss(logp, old, adv):
        moved = logp.exp() - old.exp()
        inside = torch.where(adv > 0, moved <= 0.15, moved >= -0.15)
        return -adv * (logp - old).exp().clamp(max=20.0).detach() * logp * inside

    return rows.token_mean([loss(*row) for row in rows])


def sapo(rows):
    def loss(logp, old, adv):
        tau = 1.0 + 0.05 * (adv <= 0).double()
        return -adv * 4 / tau * torch.sigmoid(tau * ((logp - old).exp() - 1))

    return rows.sequence_mean([loss(*row) for row in rows])


def covariances(rows):
    adv, logp = torch.cat(rows.adv), torch.cat(rows.logp).detach()
    return (adv - adv.mean()) * (logp - logp.mean())


def kl_cov(rows):
    covariance = covariances(rows)
    chosen = covariance >= covariance.sort(descending=True).values[max(int(0.002 * rows.tokens), 1) - 1]
    delta = torch.cat(rows.logp) - torch.cat(rows.old)
    return (-torch.cat(rows.adv) * delta.exp() + 1.0 * delta.abs() * chosen).sum() / rows.tokens


def archer(rows):
    losses, low_tokens = [], []
    for (logp, old, adv), high in zip(rows, rows.high(), strict=True):
        r = (logp - old).exp()
        losses.append(torch.where(high, clipped(r, adv, 0.5, 0.5, 10.0), clipped(r, adv, 0.2, 0.2, 10.0)))
        low_tokens.append(~high)
    kl = []
    references = [row for row in rows.ref if len(row)]
    for (logp, _, _), ref, low in zip(rows, references, low_tokens, strict=True):
        kl.append(((ref - logp).exp() - (ref - logp) - 1) * low)
    return rows.token_mean(losses) + 0.001 * rows.token_mean(kl)


def aspo(rows):
    losses = []
    for (logp, old, adv), high in zip(rows, rows.high(), strict=True):
        eps = 0.2 + 0.2 * high.double()
        r = (logp - old).exp()
        same = (logp - logp.detach()).exp()
        up = torch.where(r > 1 + eps, 1 / (1 + eps), (old.exp() * logp.exp()) / logp.exp().detach().square())
        up = torch.where(1 / r > 3.0, 3.0 * same, up)
        down = torch.where(r < 1 - eps, 1 - eps, torch.where(r > 3.0, 3.0 * same, r))
        losses.append(-adv * torch.where(adv < 0, down, up))
    return rows.token_mean(losses)


FORMULAS = {
    function.__name__: function for function in (grpo, dr_grpo, gspo, cispo, dppo_tv, sapo, kl_cov, archer, aspo)
}


def trained(preset, batch):
    """Loss, gradient and metrics of the mini-batch with a preset, as one micro-batch."""
    objective = load_preset(preset)
    batch.split(objective)
    data = whole(batch)
    output = batch.model_output(data, "log_probs", "entropy")
    loss, metrics = htpo_loss(actor_of(preset), objective, output, data)
    loss.backward()
    return loss.detach(), batch.gradient(), metrics


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("preset", FORMULAS)
def test_a_preset_trains_with_its_formula(preset, seed):
    batch = mini_batch("ref_log_prob", rows=8, width=60, seed=seed)
    loss, gradient, metrics = trained(preset, batch)
    expected = FORMULAS[preset](Rows(batch))
    expected.backward()
    assert loss.dtype == torch.float64 and gradient.any()
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gradient, batch.gradient(), rtol=1e-9, atol=1e-12)
    assert any(name.startswith(SUMS_PREFIX) for name in metrics) == (preset not in VERLS)


def test_clip_cov_takes_the_loss_of_a_few_tokens_in_its_band():
    batch = mini_batch("ref_log_prob", rows=8, width=60)
    loss, gradient, _ = trained("clip_cov", batch)
    rows = Rows(batch)
    plain = rows.token_mean([clipped((logp - old).exp(), adv, 1.0, 1.0, torch.inf) for logp, old, adv in rows])
    plain.backward()
    without = batch.gradient()
    missing = gradient != without
    torch.testing.assert_close(gradient[~missing], without[~missing])
    (place,) = missing.nonzero()[:, 0].tolist()
    assert gradient[place] == 0
    covariance = covariances(rows)
    (token,) = (torch.cat(rows.logp) == torch.cat(batch.log_probs)[place]).nonzero()[:, 0].tolist()
    assert 1.0 < covariance[token] < 5.0


@pytest.mark.parametrize("preset", VERLS)
def test_what_verl_has_is_verls_loss_bit_for_bit(preset):
    batch = mini_batch("ref_log_prob", "rollout_is_weights")
    torch.manual_seed(0)
    loss, gradient, metrics = trained(preset, batch)
    torch.manual_seed(0)
    data = whole(batch)
    expected, expected_metrics = ppo_loss(actor_of(preset), batch.model_output(data, "log_probs"), data)
    expected.backward()
    assert actor_of(preset).policy_loss.loss_mode == preset
    assert torch.equal(loss, expected.detach()) and torch.equal(gradient, batch.gradient())
    assert metrics.keys() == expected_metrics.keys()


@pytest.mark.parametrize("preset", ["grpo", "dr_grpo"])
def test_the_rows_of_ppo_are_verls_vanilla_loss_with_the_presets_settings(preset):
    batch = mini_batch("ref_log_prob")
    loss, gradient, _ = trained(preset, batch)
    data = whole(batch)
    expected, _ = ppo_loss(actor_of(preset, "vanilla"), batch.model_output(data, "log_probs"), data)
    expected.backward()
    assert torch.equal(loss, expected.detach()) and torch.equal(gradient, batch.gradient())


def test_without_a_scale_the_kl_term_is_verls():
    """`kl_scale` of 1 everywhere takes no part: the loss is the one with verl's own KL term."""
    batch = mini_batch("ref_log_prob")
    plain = {name: {"kl_scale": 1.0} for name in load_preset("archer").to_mapping()["cells"]}
    losses = []
    for overrides in ({}, {"cells": plain}):
        objective = load_preset("archer", {"entropy_source": "old", **overrides})
        batch.split(objective)
        data = whole(batch)
        losses.append(htpo_loss(actor_of("archer"), objective, batch.model_output(data, "log_probs"), data)[0])
    groups = TokenGroups(batch.data[GROUPS_FIELD].to_padded_tensor(0))
    assert groups.high.any() and losses[0] < losses[1]


def test_dr_grpos_advantage_is_not_divided_by_the_deviation():
    config = composed("dr_grpo")
    rewards, mask, uids = torch.tensor([[1.0], [0.0], [0.0], [0.0]]), torch.ones(4, 1), ["a"] * 4
    advantages, _ = compute_grpo_outcome_advantage(
        rewards, mask, uids, norm_adv_by_std_in_grpo=config.algorithm.norm_adv_by_std_in_grpo
    )
    assert advantages.flatten().tolist() == [0.75, -0.25, -0.25, -0.25]
    assert config.actor_rollout_ref.actor.loss_scale_factor == config.data.max_response_length == MAX_RESPONSE
    assert composed("grpo").algorithm.norm_adv_by_std_in_grpo


@pytest.mark.parametrize("preset", ["archer", "aspo", "dr_grpo", "grpo", *VERLS])
def test_a_presets_settings_are_the_runs(preset):
    settings = {"data": {"max_response_length": MAX_RESPONSE}, **preset_settings(preset)}
    expected = OmegaConf.create(settings)
    assert len(settings) > 1
    assert OmegaConf.merge(composed(preset), expected) == composed(preset)


def test_the_command_line_wins_over_a_preset():
    actor = compose([*CPU, "objective=gspo", "actor_rollout_ref.actor.clip_ratio_high=0.123"]).actor_rollout_ref.actor
    assert (actor.clip_ratio_high, actor.clip_ratio_low, actor.policy_loss.loss_mode) == (0.123, 3e-4, "gspo")


@pytest.mark.parametrize("preset", ["gspo", "dapo"])
def test_the_trainer_asks_for_sums_of_the_table_alone(preset, monkeypatch):
    monkeypatch.setattr(PPOTrainer, "_update_actor", lambda self, batch, metrics: batch)
    trainer = object.__new__(HTPOTrainerSync)
    trainer.config = composed(preset)
    metrics = {"actor/pg_clipfrac": 0.1}
    if preset == "dapo":
        with pytest.raises(RuntimeError, match="no group sums"):
            trainer._update_actor("batch", metrics)
    else:
        assert trainer._update_actor("batch", metrics) == "batch"
    assert metrics == {"actor/pg_clipfrac": 0.1}
