# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Hand-checkable tokens: what each group's gradient does for `htpo` (the figure) and `htpo_released` (the release).

A negative gradient of the loss makes descent raise the token's probability. eps_low 0.2, eps_high 0.28, c 10.
"""

import pytest
import torch
from objective_batches import CLIP, one_token

from recipe.htpo.objective import TokenGroups, load_preset, preset_names, token_loss

CORRECT = (1, 2, 5, 6)

# Group, ratio -> gradient per unit |A|, with A > 0 in correct and A < 0 in wrong groups.
INSIDE = {group: -1.1 if group in CORRECT else 1.1 for group in range(1, 9)}
ABOVE_HTPO = {1: 0.0, 2: -1.28, 3: 2.0, 4: 2.0, 5: 0.0, 6: 0.0, 7: 2.0, 8: 2.0}
BELOW_HTPO = {1: -0.5, 2: -0.5, 3: 0.0, 4: 0.8, 5: -0.5, 6: -0.5, 7: 0.0, 8: 0.8}
ABOVE_RELEASED = ABOVE_HTPO | {2: +1.28}
BELOW_RELEASED = BELOW_HTPO | {2: +2.0, 4: -0.8, 8: -0.8}


@pytest.mark.parametrize("group", range(1, 9))
@pytest.mark.parametrize(
    "preset,above,below",
    [("htpo_paper", ABOVE_HTPO, BELOW_HTPO), ("htpo_released", ABOVE_RELEASED, BELOW_RELEASED)],
)
def test_gradient_of_every_group(preset, above, below, group):
    config, adv = load_preset(preset), 1.0 if group in CORRECT else -1.0
    for ratio, expected in ((1.1, INSIDE), (2.0, above), (0.5, below)):
        assert one_token(group, ratio, adv, config)[1] == pytest.approx(expected[group], rel=1e-12)


@pytest.mark.parametrize("group", range(1, 9))
def test_htpo_never_pushes_against_the_answer(group):
    """Correct tokens only ever rise and wrong ones only ever fall, as the figure's objectives say."""
    adv = 1.0 if group in CORRECT else -1.0
    for preset in ("htpo", "htpo_paper", "htpo_paper_literal", "htpo_released_signfix"):
        for ratio in (0.05, 0.5, 1.0, 1.1, 2.0, 20.0):
            assert -adv * one_token(group, ratio, adv, load_preset(preset))[1] >= 0


@pytest.mark.parametrize("mark", ["detach_low", "detach_high"])
def test_detached_tokens_have_neither_loss_nor_gradient(mark):
    for group in range(1, 9):
        assert one_token(group, 2.0, 1.0, load_preset("htpo_paper"), **{mark: True}) == (0.0, 0.0)


def test_one_cell_overridden():
    override = {"cells": {"hard_correct_high": {"rule": "ppo"}}}
    assert one_token(2, 2.0, 1.0, load_preset("htpo_paper", override)) == (-1.28, 0.0)
    override = {"cells": {"hard_correct_high": {"region": "outside"}}}
    assert one_token(2, 0.5, 1.0, load_preset("htpo_paper", override)) == (-1.28, -1.28)
    override = {"cells": {"hard_correct_high": {"region": "inside"}}}
    assert one_token(2, 1.1, 1.0, load_preset("htpo_paper", override)) == (-1.28, -1.28)
    assert one_token(2, 2.0, 1.0, load_preset("htpo_paper", override)) == (-1.28, 0.0)


def test_clip_edges_belong_to_the_inside():
    one = torch.ones(8, dtype=torch.float64)
    groups = TokenGroups.of(torch.arange(1, 9, dtype=torch.int8), one < 0, one < 0)
    for preset in ("htpo_paper", "htpo_released"):
        output = token_loss(one, one, one, one, groups, load_preset(preset), 0.0, 0.0, 10.0)
        assert not output.replaced.any() and not output.ppo_clip.any()


def _extreme(dtype, log_ratio, preset, **row):
    log_prob = torch.full((9,), log_ratio, dtype=dtype).requires_grad_()
    group = torch.tensor([1, 2, 3, 4, 5, 6, 7, 8, 0], dtype=torch.int8)
    off = torch.zeros(9, dtype=torch.bool)
    zero, config = torch.zeros(9, dtype=dtype), load_preset(preset, {"cells": {"hard_correct_high": row}})
    output = token_loss(log_prob, zero, zero + 1, group > 0, TokenGroups.of(group, off, off), config, *CLIP)
    return output.loss, torch.autograd.grad(output.loss.sum(), log_prob)[0]


def test_released_reciprocal_overflows_alone_and_a_floor_bounds_it():
    loss, gradient = _extreme(torch.float32, -90.0, "htpo_released")
    assert gradient.isinf().tolist() == [False, True] + 7 * [False]
    assert gradient[[0, 2, 3, 4, 5, 6, 7, 8]].isfinite().all()
    loss, gradient = _extreme(torch.float32, -90.0, "htpo_released", floor=1e-6)
    assert loss.isfinite().all() and gradient.isfinite().all()
    for log_ratio in (-13.0, 2.0):
        free = _extreme(torch.float64, log_ratio, "htpo_released")
        guarded = _extreme(torch.float64, log_ratio, "htpo_released", floor=1e-6)
        assert torch.equal(free[0], guarded[0]) and torch.equal(free[1], guarded[1])


@pytest.mark.parametrize("preset", preset_names())
def test_garbage_outside_the_mask_is_ignored(preset):
    log_prob = torch.tensor([-1.0, torch.nan, torch.inf, -torch.inf], dtype=torch.float64).requires_grad_()
    group = torch.tensor([2, 0, 0, 0], dtype=torch.int8)
    old, adv = torch.tensor([-2.0, 0.0, torch.nan, -1.0]).double(), torch.tensor([1.0, torch.nan, 1.0, torch.inf])
    off = torch.zeros(4, dtype=torch.bool)
    output = token_loss(log_prob, old, adv, group > 0, TokenGroups.of(group, off, off), load_preset(preset), *CLIP)
    (gradient,) = torch.autograd.grad(output.loss.sum(), log_prob)
    assert output.loss[1:].tolist() == gradient[1:].tolist() == [0.0, 0.0, 0.0]
    assert gradient[0].isfinite()


@pytest.mark.parametrize("preset", ["htpo_released", "aspo", "archer"])
@pytest.mark.parametrize(
    "dtypes",
    [
        (torch.float32, torch.float32, torch.bfloat16),
        (torch.bfloat16, torch.float32, torch.float32),
        (torch.bfloat16, torch.bfloat16, torch.bfloat16),
        (torch.float16, torch.float16, torch.float16),
        (torch.float32, torch.float64, torch.float32),
    ],
    ids=str,
)
def test_inputs_of_any_precision(preset, dtypes):
    """Gradient and state are those of the same numbers in float64; the gradient is rounded to `log_prob`s dtype."""
    torch.manual_seed(0)
    values = -3 * torch.rand(500), -3 * torch.rand(500), torch.randn(500)
    given = [tensor.to(dtype) for tensor, dtype in zip(values, dtypes, strict=True)]
    groups, one = TokenGroups.decode(torch.arange(500) % 8 + 1), torch.ones(500)
    made = []
    for log_prob, old, adv in (given, [tensor.double() for tensor in given]):
        output = token_loss(log_prob.requires_grad_(), old, adv, one, groups, load_preset(preset), *CLIP)
        made.append((output, torch.autograd.grad(output.loss.sum(), log_prob)[0].double()))
    (output, gradient), (exact, expected) = made
    assert torch.equal(output.state, exact.state)
    torch.testing.assert_close(output.loss.double(), exact.loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize(
    "clip,name", [((-0.1, 0.2, 3.0), "clip_ratio_low"), ((0.2, -0.1, 3.0), "clip_ratio_high"), ((0.2, 0.2, 1.0), "_c")]
)
def test_bad_clip_parameters(clip, name):
    one = torch.ones(1)
    groups = TokenGroups.of(torch.ones(1, dtype=torch.int8), one > 1, one > 1)
    with pytest.raises(ValueError, match=name):
        token_loss(one, one, one, one, groups, load_preset("dapo"), *clip)


def test_shapes_that_differ():
    one = torch.ones(2, 3)
    groups = TokenGroups.of(torch.ones(2, 3, dtype=torch.int8), one > 1, one > 1)
    with pytest.raises(ValueError, match="advantages must have the shape"):
        token_loss(one, one, torch.ones(2, 1), one, groups, load_preset("dapo"), *CLIP)
