# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The advantage transform of a training batch, and the losses that train on what it makes."""

from functools import partial

import pytest
import torch
from seams_batches import actor_config, jagged, mini_batch, whole
from verl.workers.utils.losses import ppo_loss

from recipe.htpo.objective import load_preset
from recipe.htpo.objective.weights import WeightConfig, weight_names
from recipe.htpo.seams.influence import ANCHOR_FIELD, MARGIN_FIELD, SCORE_FIELD
from recipe.htpo.seams.loss import htpo_loss
from recipe.htpo.seams.responses import ResponseFacts
from recipe.htpo.seams.weights import FIELDS, weigh, weight_fields

PARAMETERS = {"thr": {"p": 0.1}, "sequence_mask": {"delta": 0.0}}
LENGTHS = (3, 1, 4, 2, 3, 2, 3)
# Two prompts; a row of padding, and a response without a valid token.
CORRECT = (True, False, False, True, False, True, False)
PROMPTS = ("a", "a", "a", "b", "b", "b", "a")
PADDING_ROW, EMPTY_ROW = 6, 4


def batch():
    """The fields that verl's trainer has, jagged, and the facts of the rows."""
    random = torch.Generator().manual_seed(3)

    def tokens(scale=1.0):
        return jagged([scale * torch.rand(length, generator=random) for length in LENGTHS])

    masks = [torch.ones(length, dtype=torch.int64) for length in LENGTHS]
    masks[PADDING_ROW].zero_(), masks[EMPTY_ROW].zero_()
    masks[2][1] = 0
    data = {
        "advantages": jagged(
            [torch.full((n,), 1.0 if right else -0.5) for n, right in zip(LENGTHS, CORRECT, strict=True)]
        ),
        "old_log_probs": tokens(-1.0),
        "rollout_log_probs": tokens(-1.0),
        "entropy": tokens(),
        SCORE_FIELD: jagged([torch.rand(length, generator=random) - 0.5 for length in LENGTHS]),
        MARGIN_FIELD: tokens(3.0),
        ANCHOR_FIELD: torch.tensor([0.1 if right else torch.nan for right in CORRECT]),
    }
    facts = ResponseFacts.read(
        keys=[f"{uid}_{session}_0" for session, uid in enumerate(PROMPTS)],
        uids=list(PROMPTS),
        extra_fields=[{"reward_extra_info": {"acc": float(right)}} for right in CORRECT],
        valid_tokens=torch.tensor([int(mask.sum()) for mask in masks]),
        padding=[row == PADDING_ROW for row in range(len(LENGTHS))],
    )
    return data, jagged(masks), facts


def made(name):
    return WeightConfig.from_mapping(name, PARAMETERS.get(name))


@pytest.mark.parametrize("name", weight_names())
def test_every_transform_makes_advantages_of_verls_fields(name):
    data, mask, facts = batch()
    weights = made(name)
    assert set(weight_fields(weights)) == {"advantages", *(FIELDS[field] for field in weights.needs)}
    advantages, metrics = weigh(weights, {field: data[field] for field in weight_fields(weights)}, mask, facts)
    assert torch.equal(advantages.offsets(), mask.offsets()) and advantages.isfinite().all()
    base = data["advantages"].unbind()
    assert 0 < metrics["weights/changed_frac"] <= 1
    # A row that does not count keeps what it had, and a token outside the mask has nothing.
    for row, values in enumerate(advantages.unbind()):
        if row in (PADDING_ROW, EMPTY_ROW):
            assert torch.equal(values, base[row])
        else:
            assert not values[mask.unbind()[row] == 0].any()


def test_metrics_of_thr_and_nthr():
    data, mask, facts = batch()
    for name, metric in (("thr", "thr/kept_frac"), ("nthr", "nthr/selected_frac")):
        assert 0 < weigh(made(name), data, mask, facts)[1][metric] < 1
    # Prompt b: 2 of its 2 counted responses are right, so every token keeps its weight.
    advantages, _ = weigh(made("thr"), data, mask, facts)
    for row in (3, 5):
        assert torch.equal(advantages.unbind()[row], data["advantages"].unbind()[row])


def test_several_outputs_of_one_rollout_are_refused():
    data, mask, facts = batch()
    facts.counted[0] = False
    with pytest.raises(ValueError, match="objective.weights=ar knows one output per rollout"):
        weigh(made("ar"), data, mask, facts)


@pytest.mark.parametrize("loss_mode", ["htpo", "vanilla", "gspo", "cispo", "gpg", "dppo_tv"])
def test_every_policy_loss_trains_on_the_weighed_advantages(loss_mode):
    """Where no clip is active, twice the advantage is twice the token's gradient."""
    objective, config = load_preset("dapo"), actor_config(f"policy_loss.loss_mode={loss_mode}")
    loss = partial(htpo_loss, config, objective) if loss_mode == "htpo" else partial(ppo_loss, config)
    gradients = []
    for factor in (1.0, 2.0):
        given = mini_batch(seed=4)
        given.data["old_log_probs"] = jagged([row.detach() for row in response_log_probs(given)])
        given.data["advantages"] = given.data["advantages"] * factor
        given.split(objective)
        data = whole(given)
        value, _ = loss(model_output=given.model_output(data, "log_probs"), data=data)
        value.backward()
        gradients.append(given.gradient())
    assert gradients[0].any()
    torch.testing.assert_close(gradients[1], 2 * gradients[0])


def response_log_probs(given):
    """The model's log-probabilities of the response tokens of every row."""
    for row, mask in zip(given.log_probs, given.data["response_mask"].unbind(), strict=True):
        yield row[len(row) - len(mask) - 1 : -1]
