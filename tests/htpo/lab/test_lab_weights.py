# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The lab's advantage transforms: the scores of the Hugging Face model, and steps that train on them."""

from dataclasses import replace

import pytest
import torch
from test_lab_loop import _batch, lenient, model_dir, plan  # noqa: F401

from recipe.htpo.lab.loop import Lab
from recipe.htpo.lab.weights import weighed
from recipe.htpo.objective import load_preset
from recipe.htpo.objective.weights import Head, PromptTokens, influence_scores, weight_names

PARAMETERS = {"thr": {"p": 0.1}}


def weighed_plan(name):
    weights = {"name": name, "parameters": PARAMETERS.get(name, {})}
    return replace(plan("dapo"), objective=load_preset("dapo", {"weights": weights}))


def test_head_inputs_give_the_scores_of_the_hugging_face_model(model_dir, lenient):  # noqa: F811
    lab = Lab(model_dir, plan())
    batch = _batch(lab)
    chosen = slice(0, 4)
    hidden, token, response = [], [], []
    for index, sample in enumerate(batch.samples[chosen]):
        ids = torch.tensor([sample.prompt + sample.response[:-1]])
        hidden.append(lab.model.model(ids).last_hidden_state[0, len(sample.prompt) - 1 :].detach())
        token.append(torch.tensor(sample.response))
        response.append(torch.full((len(sample.response),), index))
    expected = influence_scores(
        PromptTokens(torch.cat(hidden), torch.cat(token), torch.cat(response), batch.correct[chosen]),
        Head(lab.model.lm_head.weight.detach()),
        length_normalised=True,
    )
    actual_hidden, actual_token = lab.fast.head_inputs(batch.samples[chosen])
    assert torch.equal(actual_token, torch.cat(token))
    actual = influence_scores(
        PromptTokens(actual_hidden, actual_token, torch.cat(response), batch.correct[chosen]),
        Head(lab.model.lm_head.weight.detach()),
        length_normalised=True,
    )
    scale = float(expected.score.abs().max())
    torch.testing.assert_close(actual.score, expected.score, atol=1e-4 * scale, rtol=0)


@pytest.mark.parametrize("name", weight_names())
def test_a_step_trains_on_weighed_advantages(model_dir, lenient, name):  # noqa: F811
    lab = Lab(model_dir, weighed_plan(name))
    batch = _batch(lab)
    made, figures = weighed(batch, lab.plan.objective.weights, lab.fast, 4)
    assert made.advantages.shape == batch.advantages.shape and made.advantages.isfinite().all()
    assert not made.advantages[~batch.mask].any()
    # The sampler is the old policy here, so no response is far from it; and NTHR need not select a token.
    assert figures["weights/changed_frac"] > 0 or name in ("sequence_mask", "nthr")
    assert ("thr/kept_frac" in figures) == (name == "thr")
    record = Lab(model_dir, weighed_plan(name)).step(0)
    assert record["mixed"] == 2 and record["weights/changed_frac"] == figures["weights/changed_frac"]
