# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Groups and detach marks: explicit small rows, degenerate rows, counts, and invariances."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from objective_batches import batches, split_of

from recipe.htpo.objective import TokenGroups, load_preset, partition, partition_jagged

HARD, EASY, CORRECT, WRONG = True, False, True, False


def _config(lowest=0.5, highest=0.5, mode="threshold", **overrides):
    cells = {
        "hard_correct_low": {"detach_lowest": lowest, "detach_mode": mode},
        "easy_correct_high": {"detach_highest": highest, "detach_mode": mode},
    }
    return load_preset("htpo_paper", {"cells": cells, **overrides})


def _row(entropy, hard, correct, config, mask=None):
    entropy = torch.tensor([entropy])
    mask = torch.ones_like(entropy) if mask is None else torch.tensor([mask])
    groups = partition(entropy, mask, torch.tensor([hard]), torch.tensor([correct]), config)
    return (
        groups.group[0].tolist(),
        groups.detach_low[0].nonzero()[:, 0].tolist(),
        groups.detach_high[0].nonzero()[:, 0].tolist(),
    )


def test_ten_tokens_by_hand():
    """k = int(0.2 * 10) = 2 high tokens: 0.9 and 0.8. Half of the 8 low ones: 4th lowest is 0.3, strictly below go."""
    entropy = [0.0, 0.9, 0.1, 0.2, 0.3, 0.8, 0.4, 0.5, 0.6, 0.7]
    high = [1, 5]
    for hard, correct, first in ((HARD, CORRECT, 1), (HARD, WRONG, 3), (EASY, CORRECT, 5), (EASY, WRONG, 7)):
        group, low_gone, high_gone = _row(entropy, hard, correct, _config())
        assert group == [first + (i in high) for i in range(10)]
        assert low_gone == ([0, 2, 3] if first == 1 else [])
        assert high_gone == ([1] if first == 5 else [])
    assert _row(entropy, HARD, CORRECT, _config(mode="rank"))[1] == [0, 2, 3, 4]
    assert _row(entropy, EASY, CORRECT, _config(mode="rank", highest=1.0))[2] == [1, 5]


def test_ties():
    entropy = [0.5, 0.0, 0.0, 0.5, 0.0, 0.1, 0.5, 0.2, 0.0, 0.0]
    group, gone, _ = _row(entropy, HARD, CORRECT, _config())
    assert group == [2, 1, 1, 2, 1, 1, 2, 1, 1, 1]  # k = 2, and all three tied at the cut are high
    assert gone == []  # int(0.5 * 7) = 3, the third lowest is 0, and nothing is below 0
    assert _row(entropy, HARD, CORRECT, _config(mode="rank"))[1] == [1, 2, 4]  # ties by position
    assert _row(entropy, EASY, CORRECT, _config(highest=0.4))[2] == [0, 3, 6]  # int(0.4 * 3) = 1, with its ties
    assert _row(entropy, EASY, CORRECT, _config(highest=0.7, mode="rank"))[2] == [0, 3]


@pytest.mark.parametrize("mode", ["threshold", "rank"])
def test_degenerate_rows(mode):
    config = _config(mode=mode)
    assert _row([0.3], HARD, CORRECT, config) == ([2], [], [])
    assert _row([0.3], EASY, CORRECT, config) == ([6], [], [0])
    assert _row([0.3] * 4, HARD, CORRECT, config) == ([2] * 4, [], [])
    all_equal = _row([0.3] * 4, EASY, CORRECT, config)
    assert all_equal == ([6] * 4, [], [0, 1, 2, 3] if mode == "threshold" else [0, 1])
    assert _row([0.3] * 4, HARD, CORRECT, config, mask=[0.0] * 4) == ([0] * 4, [], [])
    assert _row([torch.nan, 0.3, 0.1], HARD, WRONG, config, mask=[0, 1, 1]) == ([0, 4, 3], [], [])


def test_nonfinite_entropy():
    entropy = [0.1, torch.nan, 0.3, torch.inf, 0.2]
    with pytest.raises(ValueError, match="not finite in 2 response tokens"):
        _row(entropy, HARD, CORRECT, _config())
    config = _config(nonfinite_entropy="low", lowest=1.0, mode="rank", high_entropy_ratio=0.4)
    assert _row(entropy, HARD, CORRECT, config) == ([1, 1, 2, 1, 2], [0, 1, 3], [])
    config = _config(nonfinite_entropy="low")
    assert _row([torch.nan, torch.nan], EASY, CORRECT, config) == ([5, 5], [], [])


@pytest.mark.parametrize("ratio", [0.006, 0.02, 0.1, 0.2, 0.29, 0.3, 0.57, 0.7])
def test_counts_truncate_the_float64_product(ratio):
    """0.29 * 100 is 28.999999999999996: one token fewer than in exact arithmetic, and float32 would give 29."""
    width = 401
    entropy = torch.arange(width).flip(0).expand(width, width).float()
    mask = torch.arange(width) < torch.arange(1, width + 1)[:, None]
    yes = torch.ones(width, dtype=torch.bool)
    config = load_preset("dapo", {"high_entropy_ratio": ratio})
    count = partition(entropy, mask, yes, yes, config).high.sum(-1)
    assert count.tolist() == [max(int(ratio * n), 1) for n in range(1, width + 1)]
    config = _config(mode="rank", highest=ratio, high_entropy_ratio=1.0)
    count = partition(entropy, mask, ~yes, yes, config).detach_high.sum(-1)
    assert count.tolist() == [max(int(ratio * n), 1) for n in range(1, width + 1)]


def test_both_ends_of_any_cell_can_be_detached():
    ends = {"detach_lowest": 0.25, "detach_highest": 0.25, "detach_mode": "rank"}
    config = load_preset(
        "dapo", {"cells": {"hard_wrong_low": ends, "hard_wrong_high": ends}, "high_entropy_ratio": 0.5}
    )
    group, low_gone, high_gone = _row([float(i) for i in range(8)], HARD, WRONG, config)
    assert (group, low_gone, high_gone) == ([3] * 4 + [4] * 4, [0, 4], [3, 7])


def _equal(first: TokenGroups, second: TokenGroups) -> bool:
    return torch.equal(first.code, second.code)


@pytest.mark.parametrize("mode", ["threshold", "rank"])
@given(batch=batches(), order=st.randoms(use_true_random=False), extra=st.integers(0, 5))
def test_rows_and_padding_are_independent(mode, batch, order, extra):
    config = _config(mode=mode)
    whole = split_of(batch, config)
    rows = list(range(len(batch["hard"])))
    order.shuffle(rows)
    permuted = split_of({name: value[rows] for name, value in batch.items()}, config)
    assert torch.equal(whole.group[rows], permuted.group) and torch.equal(whole.detached[rows], permuted.detached)

    wide = {n: torch.nn.functional.pad(batch[n], (0, extra), value=0.0) for n in ("ent", "mask")}
    padded = split_of(batch | wide, config)
    width = batch["ent"].shape[1]
    assert torch.equal(padded.group[:, :width], whole.group) and not padded.group[:, width:].any()
    assert torch.equal(padded.detached[:, :width], whole.detached) and not padded.detached[:, width:].any()


@pytest.mark.parametrize("mode", ["threshold", "rank"])
@given(batch=batches(), lengths_from=st.integers(0, 24))
def test_packed_equals_padded(mode, batch, lengths_from):
    config = _config(mode=mode)
    # Rows are cut after their last valid token, or later: packed rows may carry masked tokens, or none at all.
    column = torch.arange(batch["mask"].shape[1]) + 1
    length = ((batch["mask"] > 0) * column).amax(-1).clamp(min=min(lengths_from, len(column)))
    inside = column <= length[:, None]
    packed = partition_jagged(
        batch["ent"][inside], batch["mask"][inside], length, batch["hard"], batch["correct"], config
    )
    padded = split_of(batch, config)
    assert torch.equal(packed.code, padded.code[inside])


def test_packed_lengths_are_checked():
    one, yes = torch.ones(3), torch.ones(2, dtype=torch.bool)
    with pytest.raises(ValueError, match="lengths sum to 4, but there are 3 entropies"):
        partition_jagged(one, one, torch.tensor([1, 3]), yes, yes, _config())
    empty = partition_jagged(one[:0], one[:0], torch.tensor([0, 0]), yes, yes, _config())
    assert empty.group.shape == (0,)


def test_many_packed_rows():
    """More rows than are taken at once."""
    random = torch.Generator().manual_seed(3)
    length = torch.randint(0, 60, (300,), generator=random)
    hard, correct = torch.rand(2, 300, generator=random) < 0.5
    entropy = torch.rand(int(length.sum()), generator=random)
    packed = partition_jagged(entropy, torch.ones_like(entropy), length, hard, correct, _config())
    inside = torch.arange(60) < length[:, None]
    padded = torch.zeros(inside.shape).masked_scatter_(inside, entropy)
    assert torch.equal(packed.code, partition(padded, inside, hard, correct, _config()).code[inside])


@given(batch=batches())
def test_one_byte_per_token_for_transport(batch):
    groups = split_of(batch, _config(lowest=1.0, highest=1.0))
    code = groups.encode()
    assert code.dtype == torch.int8
    assert _equal(TokenGroups.decode(code), groups) and _equal(TokenGroups.decode(code.long()), groups)
    assert torch.equal(groups.low | groups.high, batch["mask"] > 0) and not (groups.low & groups.high).any()


def test_mask_and_entropy_dtypes():
    entropy, yes = torch.rand(4, 9, generator=torch.Generator().manual_seed(0)), torch.ones(4, dtype=torch.bool)
    mask = torch.arange(9) < torch.tensor([[9], [5], [1], [0]])
    expected = partition(entropy, mask, yes, ~yes, _config())
    assert _equal(partition(entropy, mask.long(), yes, ~yes, _config()), expected)
    assert _equal(partition(entropy.double(), mask.float(), yes, ~yes, _config()), expected)
    assert not partition(entropy.requires_grad_(), mask, yes, ~yes, _config()).group.requires_grad
    half = partition(entropy.bfloat16(), mask, yes, ~yes, _config())
    assert _equal(half, partition(entropy.bfloat16().double(), mask, yes, ~yes, _config()))


def test_wrong_inputs():
    entropy, yes = torch.zeros(2, 3), torch.ones(2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"entropy must be a floating \[B, T\]"):
        partition(entropy.long(), entropy, yes, yes, _config())
    with pytest.raises(ValueError, match="response_mask must have shape"):
        partition(entropy, entropy[:, :2], yes, yes, _config())
    with pytest.raises(ValueError, match="correct must be bool"):
        partition(entropy, entropy, yes, yes.float(), _config())
