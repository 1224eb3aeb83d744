# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The batch that the engines are compared on: it exercises HTPO, and rounding cannot change a group or a region."""

import math

import pytest
import torch
from engines_batch import CLIP, OBJECTIVE, PADDING_ROW, PROMPTS, padded
from engines_cases import MODELS, SCORE_OPTIONS
from engines_checks import SCORE_TOLERANCE

from recipe.htpo.objective import load_preset, partition, token_loss

ROUNDING = 1e-4  # ten times what engines may differ by


@pytest.fixture(params=MODELS)
def reference(request, references):
    return references[request.param]


@pytest.mark.parametrize("source", ["old", "current"])
def test_every_group_and_every_mark_occurs(reference, source):
    sums = reference.update(source).sums
    assert all(sums[f"tokens/{group}"] > 0 for group in range(1, 9))
    assert sums["replaced_above/2"] > 0 and sums["replaced_below/4"] > 0 and sums["replaced_below/8"] > 0
    assert sums["detach_low/1"] > 0 and sums["detach_low/7"] > 0 and sums["detach_high/6"] > 0
    assert sum(sums[f"clip_lower/{group}"] for group in range(1, 9)) > 0


def test_ratios_lie_on_all_sides_of_the_clip_range_for_both_signs(reference):
    mask = padded(reference.batch["response_mask"]).bool()
    log_ratio = (padded(reference.log_probs) - padded(reference.batch["old_log_probs"]))[mask]
    positive = padded(reference.batch["advantages"])[mask] > 0
    bounds = [math.log(1 - CLIP["clip_ratio_low"]), math.log(1 + CLIP["clip_ratio_high"]), math.log(10)]
    for sign in (positive, ~positive):
        regions = torch.bucketize(log_ratio[sign], torch.tensor(bounds))
        assert regions.unique().tolist() == [0, 1, 2, 3]
    assert min((log_ratio - bound).abs().min() for bound in bounds) > ROUNDING


def test_the_batch_has_a_padding_row_and_a_single_token(reference):
    masks = reference.batch["response_mask"]
    assert not masks[PADDING_ROW].any()
    assert any(mask.sum() == 1 for mask in masks)


def test_rounding_of_entropy_moves_no_token_to_another_group(reference):
    arguments = [
        padded(reference.batch["response_mask"]),
        torch.stack(reference.batch["hard"]),
        torch.stack(reference.batch["correct"]),
        load_preset("htpo_paper", OBJECTIVE),
    ]
    entropy = padded(reference.entropy)
    expected = partition(entropy, *arguments).encode()
    random = torch.Generator().manual_seed(1)
    for _ in range(20):
        rounded = entropy + ROUNDING * (2 * torch.rand(entropy.shape, generator=random) - 1)
        assert torch.equal(partition(rounded, *arguments).encode(), expected)


def test_groups_tell_which_entropy_was_used(reference):
    assert not torch.equal(reference.update("old").groups.encode(), reference.update("current").groups.encode())


def test_gradient_is_not_that_of_dapo(reference):
    batch = reference.batch
    mask = padded(batch["response_mask"])
    log_probs, _ = reference.forward(batch)
    groups = reference.update("old").groups
    gradients = []
    for preset, changes in (("htpo_paper", OBJECTIVE), ("dapo", {})):
        output = token_loss(
            log_probs,
            padded(batch["old_log_probs"]),
            padded(batch["advantages"]),
            mask,
            groups,
            load_preset(preset, changes),
            **CLIP,
        )
        gradients.append(torch.autograd.grad(output.loss.sum(), log_probs, retain_graph=True)[0])
    assert (gradients[0] - gradients[1]).norm() > 0.1 * gradients[1].norm()


@pytest.mark.parametrize("options", SCORE_OPTIONS.values(), ids=SCORE_OPTIONS)
def test_rounding_of_scores_moves_no_token_over_tau(reference, options):
    scores, anchors = reference.scores(**options)
    scale = max(float(row.abs().max()) for row in scores)
    assert scale > 0 and all(not scores[row].any() for row, prompt in enumerate(PROMPTS) if prompt not in (0, 1))
    split = []
    for prompt in (0, 1):
        rows = [row for row, number in enumerate(PROMPTS) if number == prompt]
        tau = min(anchors[row] for row in rows if row % 2 == 0)
        values = torch.cat([scores[row][reference.batch["response_mask"][row] > 0] for row in rows])
        # Both the score and tau are rounded.
        assert (values.abs() - tau).abs().min() > 2 * SCORE_TOLERANCE * scale
        split.append(0 < (values.abs() > tau).sum() < len(values))
    # With one correct response that is no anchor to itself tau is 0, and every token is over it.
    assert split[1] and split[0] != options["anchor_exclude_self"]
