# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The reward function as verl calls it: by keyword, from a file or a package, with the real reward managers."""

import pytest

from recipe.htpo.reward import compute_score
from recipe.htpo.verifier import REASONS

KEYS = {"score", "acc", "pred"} | {f"reason_{reason}" for reason in REASONS}


def score(response, ground_truth="34", **kwargs):
    return compute_score(data_source="math_dapo", solution_str=response, ground_truth=ground_truth, **kwargs)


@pytest.mark.parametrize(
    "response, reason",
    [
        (r"so \boxed{34}", "equal"),
        (r"so \boxed{35}", "not_equal"),
        (r"so 34", "extraction"),
        (r"so \boxed{34", "extraction"),
        (r"\boxed{" + "1" * 5000 + "}", "over_limit"),
    ],
)
def test_keys_and_reason(response, reason):
    result = score(response)
    assert set(result) == KEYS
    assert [name for name in REASONS if result[f"reason_{name}"] == 1.0] == [reason]
    assert result["acc"] == result["score"] == float(reason == "equal")
    assert all(isinstance(value, float) for name, value in result.items() if name != "pred")


@pytest.mark.parametrize("ground_truth", [None, "", "  ", [], [""]])
def test_missing_ground_truth_is_a_reason_in_training(ground_truth):
    result = score(r"\boxed{}", ground_truth)
    assert result["score"] == 0.0 and result["reason_ground_truth"] == 1.0


def test_score_values():
    assert score(r"\boxed{34}", score_correct=2, score_wrong=-1)["score"] == 2.0
    assert score(r"\boxed{35}", score_wrong=-1.0)["score"] == -1.0


def test_unknown_option_names_the_valid_ones():
    with pytest.raises(ValueError, match="unknown reward_kwargs scor_wrong.*score_wrong.*tail_chars"):
        score("x", scor_wrong=-1.0)
