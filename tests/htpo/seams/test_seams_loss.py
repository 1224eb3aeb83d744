# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The actor loss on verl's jagged batches: equal to verl's own, however a batch is split, and loud when broken."""

from functools import partial

import pytest
import torch
from seams_batches import actor_config, jagged, mini_batch, train, whole
from verl.trainer.ppo.core_algos import get_policy_loss_fn
from verl.utils import tensordict_utils as tu
from verl.utils.metric import AggregationType
from verl.workers.utils.losses import ppo_loss

from recipe.htpo.objective import load_preset
from recipe.htpo.seams.loss import GROUPS_FIELD, SUMS_PREFIX, htpo_loss, token_objective_loss

ACTOR = actor_config()


def loss_of(batch, preset="htpo", config=ACTOR, output=("log_probs",), **overrides):
    """Loss, gradient and metrics of the mini-batch as one micro-batch."""
    objective = load_preset(preset, overrides)
    batch.split(objective)
    data = whole(batch)
    loss, metrics = htpo_loss(config, objective, batch.model_output(data, *output), data)
    loss.backward()
    return loss.detach(), batch.gradient(), metrics


@pytest.mark.parametrize(
    "settings",
    [
        ["loss_agg_mode=token-mean"],
        ["loss_agg_mode=seq-mean-token-sum"],
        ["loss_agg_mode=seq-mean-token-mean"],
        ["clip_ratio_c=1.2"],
        ["clip_ratio_low=null", "clip_ratio_high=null", "clip_ratio=0.1"],
        ["use_kl_loss=True", "kl_loss_coef=0.3"],
        ["entropy_coeff=0.1"],
    ],
    ids=lambda settings: settings[0],
)
@pytest.mark.parametrize("fields", [["ref_log_prob"], ["ref_log_prob", "rollout_is_weights"]], ids=["", "weighted"])
def test_dapo_preset_is_verls_loss_bit_for_bit(settings, fields):
    batch = mini_batch(*fields)
    output = ("log_probs", "entropy") if "entropy_coeff=0.1" in settings else ("log_probs",)
    data = whole(batch)
    vanilla = actor_config(*settings, "policy_loss.loss_mode=vanilla")
    expected_loss, expected_metrics = ppo_loss(vanilla, batch.model_output(data, *output), data)
    expected_loss.backward()
    expected_gradient = batch.gradient()
    loss, gradient, metrics = loss_of(batch, "dapo", actor_config(*settings), output)
    assert loss.dtype == torch.float64 and expected_gradient.any()
    assert torch.equal(loss, expected_loss.detach())
    assert torch.equal(gradient, expected_gradient)
    # The shares of clipped tokens come from the sums instead.
    for name in expected_metrics.keys() - {"actor/pg_clipfrac", "actor/pg_clipfrac_lower", "actor/ppo_kl"}:
        assert getattr(metrics[name], "values", metrics[name]) == getattr(
            expected_metrics[name], "values", expected_metrics[name]
        )


@pytest.mark.parametrize("preset", ["htpo_paper", "htpo_released_signfix"])
@pytest.mark.parametrize(
    "ranks, split",
    [
        (1, {"micro_batch_size_per_gpu": 1}),
        (1, {"micro_batch_size_per_gpu": 4}),
        (2, {"micro_batch_size_per_gpu": 2}),
        (4, {"micro_batch_size_per_gpu": 1}),
        (1, {"max_token_len_per_gpu": 90}),
    ],
)
@pytest.mark.parametrize("mode", ["token-mean", "seq-mean-token-mean"])
def test_a_split_batch_gives_the_same_loss_gradient_and_metrics(preset, ranks, split, mode):
    config = actor_config(f"loss_agg_mode={mode}")
    # 400 tokens: the shares that are detached are below one token of a short response.
    batch = mini_batch(width=400 if "micro_batch_size_per_gpu" in split else 40)
    loss_fn = partial(htpo_loss, config, load_preset(preset, {"entropy_source": "old"}))
    expected_loss, expected_gradient, expected_metrics = train(batch, loss_fn, micro_batch_size_per_gpu=8)
    loss, gradient, metrics = train(batch, loss_fn, ranks, **split)
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-12, atol=1e-15)
    assert metrics.keys() == expected_metrics.keys()
    for name, value in expected_metrics.items():
        assert metrics[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name
    assert metrics["htpo/frac_group2"] > 0 and metrics["htpo/replaced_frac_group2"] > 0


def test_metrics_of_a_batch_have_verls_definition():
    batch = mini_batch()
    _, _, metrics = train(batch, partial(htpo_loss, ACTOR, load_preset("dapo")), micro_batch_size_per_gpu=8)
    vanilla = actor_config("policy_loss.loss_mode=vanilla")
    data = whole(batch)
    _, expected = ppo_loss(vanilla, batch.model_output(data, "log_probs"), data)
    for name in ("actor/pg_clipfrac", "actor/pg_clipfrac_lower", "actor/ppo_kl"):
        assert metrics[name] == pytest.approx(expected[name].aggregate(), rel=1e-6), name


def test_group_sums_are_summed_over_micro_batches_by_verl():
    _, _, metrics = loss_of(mini_batch())
    sums = {name: metric for name, metric in metrics.items() if name.startswith(SUMS_PREFIX)}
    assert sums
    for name, metric in sums.items():
        assert metric.aggregation is AggregationType.SUM
        # verl reduces a plain value by its name.
        assert "max" not in name and "min" not in name


def test_a_row_of_padding_changes_nothing():
    batch = mini_batch()
    _, gradient, metrics = loss_of(batch)
    tokens = sum(metrics[f"{SUMS_PREFIX}tokens/{group}"].values[0] for group in range(1, 9))
    assert tokens == batch.data["response_mask"].values().sum()
    lengths = [len(row) for row in batch.log_probs]
    assert not gradient[lengths[0] : sum(lengths[:2])].any()
    # Its verdicts are copied from another row, and its numbers may be anything.
    batch.hard[1], batch.correct[1] = ~batch.hard[1], ~batch.correct[1]
    assert torch.equal(loss_of(batch)[1], gradient)


def test_a_micro_batch_of_padding_alone_has_loss_zero():
    batch = mini_batch()
    batch.split(load_preset("htpo"))
    padding = tu.chunk_tensordict(whole(batch), 8)[1]
    loss, metrics = htpo_loss(ACTOR, load_preset("htpo"), batch.model_output(padding, "log_probs"), padding)
    loss.backward()
    assert loss == 0.0 and not batch.gradient().any()
    assert all(metrics[f"{SUMS_PREFIX}tokens/{group}"].values == [0.0] for group in range(1, 9))


@pytest.mark.parametrize("preset", ["htpo", "htpo_paper_literal", "entropy_80_20"])
def test_padding_columns_change_nothing(preset):
    """The same rows beside a longer one: the padded width of every row differs."""
    batch = mini_batch(rows=6)
    loss_fn = partial(htpo_loss, ACTOR, load_preset(preset))
    together = train(batch, loss_fn, micro_batch_size_per_gpu=6)
    alone = train(batch, loss_fn, micro_batch_size_per_gpu=1)
    torch.testing.assert_close(alone[1], together[1], rtol=1e-12, atol=1e-15)


def test_entropy_of_old_and_of_current_policy():
    batch = mini_batch()
    old = loss_of(batch)
    # Current entropies that equal the old ones: the model's output is shifted by one token.
    with torch.no_grad():
        for row, values in enumerate(batch.data["entropy"].unbind()):
            batch.entropy[row][-len(values) - 1 : -1] = values
    both = ("log_probs", "entropy")
    current = loss_of(batch, output=both, entropy_source="current")
    assert torch.equal(current[0], old[0]) and torch.equal(current[1], old[1])
    # Only the current ones turned round.
    with torch.no_grad():
        for values in batch.entropy:
            values.neg_().add_(2.0)
    assert torch.equal(loss_of(batch, output=both)[1], old[1])
    assert not torch.equal(loss_of(batch, output=both, entropy_source="current")[1], old[1])


def test_the_entropy_bonus_reaches_the_model_and_only_where_asked_for():
    batch = mini_batch()
    both = ("log_probs", "entropy")
    loss_of(batch, output=both, entropy_source="current")
    assert all(row.grad is None for row in batch.entropy)
    loss_of(batch, config=actor_config("entropy_coeff=0.1"), output=both, entropy_source="current")
    assert any(row.grad.any() for row in batch.entropy)


def test_nan_entropy_of_the_current_policy_is_harmless_without_a_bonus():
    """verl multiplies the entropy by a coefficient of 0, which leaves NaN."""
    batch = mini_batch()
    with torch.no_grad():
        batch.entropy[0].fill_(float("nan"))
    both = ("log_probs", "entropy")
    data = whole(batch)
    vanilla = actor_config("policy_loss.loss_mode=vanilla")
    assert ppo_loss(vanilla, batch.model_output(data, *both), data)[0].isnan()
    assert loss_of(batch, output=both)[0].isfinite()


def test_missing_groups():
    batch = mini_batch()
    data = whole(batch)
    with pytest.raises(KeyError, match=f"{GROUPS_FIELD} is not in the batch.*trainer_mode=htpo_sync"):
        htpo_loss(ACTOR, load_preset("htpo"), batch.model_output(data, "log_probs"), data)


def test_missing_entropy():
    batch = mini_batch()
    with pytest.raises(KeyError, match="entropy_source=current needs .*calculate_entropy=True"):
        loss_of(batch, entropy_source="current")
    del batch.data["entropy"]
    with pytest.raises(KeyError, match="entropy_source=old needs .*bypass_mode=False"):
        loss_of(batch)


@pytest.mark.parametrize("source", ["old", "current"])
def test_tokens_that_rollout_correction_rejects_change_no_group(source):
    """Groups belong to what was generated; a rejected response only loses its tokens."""
    batch, both = mini_batch(), ("log_probs", "entropy")
    objective = load_preset("htpo_paper", {"entropy_source": source})
    batch.split(objective)
    whole(batch)
    expected = htpo_loss(ACTOR, objective, batch.model_output(batch.data, *both), batch.data)[1]
    rejected = [row.clone() for row in batch.data["response_mask"].unbind()]
    rejected[0].zero_()
    rejected[2][::2] = 0
    kept = sum(int(row.sum()) for row in rejected)
    batch.data["response_mask"] = jagged(rejected)
    metrics = htpo_loss(ACTOR, objective, batch.model_output(batch.data, *both), batch.data)[1]
    tokens = {g: metrics[f"{SUMS_PREFIX}tokens/{g}"].values[0] for g in range(1, 9)}
    assert sum(tokens.values()) == kept
    # Rows 0, 2, 4, 6 are hard; of these 0 and 4 are correct. The other rows' tokens are where they were.
    for group in (5, 6, 7, 8):
        assert tokens[group] == expected[f"{SUMS_PREFIX}tokens/{group}"].values[0]
    codes = batch.data[GROUPS_FIELD].to_padded_tensor(0)
    if source == "old":
        low, high = (int(((codes[2] & 15) == g)[: len(rejected[2])][rejected[2] > 0].sum()) for g in (3, 4))
        others = [(codes[6] & 15 == g).sum() for g in (3, 4)]
        assert (tokens[3], tokens[4]) == (low + others[0], high + others[1])


def test_the_loss_name_without_the_seam_fails():
    """A stock trainer with loss_mode=htpo must not train plain PPO."""
    batch = mini_batch()
    data = whole(batch)
    assert get_policy_loss_fn("htpo") is token_objective_loss
    with pytest.raises(RuntimeError, match="without the HTPO loss installed.*recipe.htpo.main_htpo"):
        ppo_loss(ACTOR, batch.model_output(data, "log_probs"), data)
    # Nor after a loss that went well, nor after one that failed half-way.
    loss_of(batch)
    batch.split(load_preset("htpo"))
    broken = batch.model_output(data, "log_probs")
    broken["log_probs"] = jagged([values[:1] for values in batch.log_probs])
    with pytest.raises(AssertionError):
        htpo_loss(ACTOR, load_preset("htpo"), broken, data)
    with pytest.raises(RuntimeError, match="without the HTPO loss installed"):
        ppo_loss(ACTOR, batch.model_output(data, "log_probs"), data)


def test_forward_only():
    """verl also evaluates a loss without gradient."""
    batch = mini_batch()
    expected, _, expected_metrics = loss_of(batch)
    data = whole(batch)
    with torch.no_grad():
        loss, metrics = htpo_loss(ACTOR, load_preset("htpo"), batch.model_output(data, "log_probs"), data)
    assert torch.equal(loss, expected)
    assert metrics[f"{SUMS_PREFIX}abs_grad/1"].values == expected_metrics[f"{SUMS_PREFIX}abs_grad/1"].values
