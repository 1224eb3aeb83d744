# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Prompt difficulty: strict threshold in float64, rows that do not count, and binarised accuracy."""

import pytest
import torch

from recipe.htpo.objective import binarise_acc, difficulty


def _rows(num_correct, size):
    return torch.arange(size) < num_correct, torch.zeros(size, dtype=torch.int64), torch.ones(size, dtype=torch.bool)


@pytest.mark.parametrize(
    "num_correct,size,hard",
    [(3, 5, False), (6, 10, False), (12, 20, False), (9, 16, True), (10, 16, False), (0, 1, True), (1, 1, False)],
)
def test_hard_is_strictly_below_the_threshold(num_correct, size, hard):
    result = difficulty(*_rows(num_correct, size), threshold=0.6)
    assert result.hard.tolist() == [hard] * size
    assert result.pass_rate.dtype == torch.float64
    assert result.pass_rate.tolist() == [num_correct / size]


def test_rows_that_do_not_count_change_nothing():
    correct = torch.tensor([True, False, True, True, True, False])
    prompt = torch.tensor([2, 2, 0, 2, 2, 3])
    valid = torch.tensor([True, True, True, False, False, False])
    result = difficulty(correct, prompt, valid, threshold=0.6, num_prompts=5)
    assert result.pass_rate.tolist() == [1.0, 0.0, 0.5, 0.0, 0.0]
    assert result.num_responses.tolist() == [1, 0, 2, 0, 0]
    assert result.hard.tolist() == [True, True, False, False, False, False]


def test_order_of_rows_does_not_matter():
    generator = torch.Generator().manual_seed(0)
    correct = torch.rand(64, generator=generator) < 0.6
    prompt = torch.randint(0, 7, (64,), generator=generator)
    valid = torch.rand(64, generator=generator) < 0.9
    order = torch.randperm(64, generator=generator)
    plain = difficulty(correct, prompt, valid, 0.6, 7)
    permuted = difficulty(correct[order], prompt[order], valid[order], 0.6, 7)
    assert torch.equal(plain.pass_rate, permuted.pass_rate)
    assert torch.equal(plain.hard[order], permuted.hard)


def test_empty_batch():
    none = torch.zeros(0, dtype=torch.bool)
    assert difficulty(none, torch.zeros(0, dtype=torch.int64), none, 0.6).pass_rate.shape == (0,)


def test_wrong_shapes_and_dtypes():
    correct, prompt, valid = _rows(1, 3)
    with pytest.raises(ValueError, match="prompt_index must have .* torch.int64"):
        difficulty(correct, prompt.int(), valid, 0.6)
    with pytest.raises(ValueError, match="correct must have .* torch.bool"):
        difficulty(correct.float(), prompt, valid, 0.6)
    with pytest.raises(ValueError, match="valid must have"):
        difficulty(correct, prompt, valid[:2], 0.6)


def test_binarise_acc():
    expected = [True, False, True, False, False]
    assert binarise_acc([1.0, 0.0, 0.51, 0.5, -1.0]).tolist() == expected
    assert binarise_acc(torch.tensor(expected)).tolist() == expected
    assert binarise_acc(torch.tensor([1, 0, -1])).tolist() == [True, False, False]
    with pytest.raises(ValueError, match="NaN in 1 of 2"):
        binarise_acc([1.0, float("nan")])
