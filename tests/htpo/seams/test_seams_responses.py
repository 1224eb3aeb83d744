# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Prompt, correctness and difficulty from what verl's agent loop leaves for every row."""

import pytest
import torch
from tensordict import NonTensorData

from recipe.htpo.objective import load_preset
from recipe.htpo.seams.responses import SURPLUS_GROUPS, UNIFORM_GROUPS, DroppedGroups, ResponseFacts

OBJECTIVE = load_preset("htpo")


def extra(acc):
    return {"reward_extra_info": {"acc": acc, "score": acc}, "tools_kwargs": {}}


def read(rows, padding=()):
    """Facts of rows `(key, acc, valid tokens)`; the prompt's uid is what stands before the first underscore."""
    keys = [key for key, _, _ in rows]
    return ResponseFacts.read(
        keys=keys,
        uids=[key.split("_")[0] for key in keys],
        extra_fields=[extra(acc) for _, acc, _ in rows],
        valid_tokens=torch.tensor([tokens for _, _, tokens in rows]),
        padding=[key in padding for key in keys],
    )


def group(uid, accs, tokens=5):
    return [(f"{uid}_{session}_0", acc, tokens) for session, acc in enumerate(accs)]


@pytest.mark.parametrize(
    "accs, pass_rate, hard",
    [
        ([0, 0, 0, 0, 0], 0.0, True),
        ([1, 0, 1, 0, 0], 0.4, True),
        # The threshold itself is easy.
        ([1, 1, 1, 0, 0], 0.6, False),
        ([1, 1, 1, 1, 1], 1.0, False),
        # -1 / 1 as DAPO's scorer gives, and a verifier that grades in steps: above 0.5 is correct.
        ([-1, -1, 1, 1, -1], 0.4, True),
        ([0.5, 0.51, 1.0, 0.9, 0.2], 0.6, False),
        ([True, False, True, True, False], 0.6, False),
    ],
)
def test_pass_rate_and_difficulty(accs, pass_rate, hard):
    facts = read(group("a", accs))
    verdict, metrics = facts.difficulty(OBJECTIVE, rollout_n=5)
    assert metrics["htpo/pass_rate"] == pytest.approx(pass_rate)
    assert verdict.tolist() == [hard] * 5
    assert facts.correct.tolist() == [acc > 0.5 for acc in accs]
    assert metrics["htpo/hard_prompt_frac"] == float(hard)
    assert metrics["htpo/mixed_prompt_frac"] == float(0 < pass_rate < 1)
    assert metrics["htpo/short_prompts"] == 0.0


def test_rows_of_one_prompt_need_not_stand_together():
    rows = group("a", [1, 1]) + group("b", [0, 0])
    facts = read([rows[0], rows[2], rows[1], rows[3]])
    assert facts.difficulty(OBJECTIVE, 2)[0].tolist() == [False, True, False, True]


def test_a_short_group_counts_what_is_there():
    verdict, metrics = read(group("a", [1, 1]) + group("b", [0, 0, 0, 1])).difficulty(OBJECTIVE, rollout_n=4)
    assert verdict.tolist() == [False] * 2 + [True] * 4
    assert metrics["htpo/short_prompts"] == 1.0 and metrics["htpo/prompts"] == 2.0


def test_padding_rows_are_in_no_statistic():
    """verl copies them from the first sample, `acc` included, under a uid of their own."""
    plain = read(group("a", [0, 0, 1])).difficulty(OBJECTIVE, 3)
    rows = group("a", [0, 0, 1]) + [("pad7_0_0", 1, 0), ("pad7_1_0", 1, 0)]
    facts = read(rows, padding=("pad7_0_0", "pad7_1_0"))
    verdict, metrics = facts.difficulty(OBJECTIVE, 3)
    assert verdict[:3].tolist() == plain[0].tolist()
    assert facts.padding.tolist() == [False] * 3 + [True] * 2
    assert not facts.counted[3:].any() and not facts.correct[3:].any()
    assert metrics.pop("htpo/rows_dropped_padding") == 2.0
    assert metrics == {name: value for name, value in plain[1].items() if name != "htpo/rows_dropped_padding"}


def test_padding_rows_need_no_acc():
    facts = ResponseFacts.read(["a_0_0", "p_0_0"], ["a", "p"], [extra(1), {}], torch.tensor([3, 0]), [False, True])
    assert facts.correct.tolist() == [True, False]


def test_only_padding():
    _, metrics = read([("p_0_0", 1, 0)], padding=("p_0_0",)).difficulty(OBJECTIVE, 1)
    assert metrics["htpo/prompts"] == metrics["htpo/pass_rate"] == metrics["htpo/mixed_prompt_frac"] == 0.0


def test_only_the_final_output_of_a_session_counts_but_all_its_rows_get_the_verdict():
    rows = [
        ("a_0_0", 1, 5),
        ("a_0_1", 1, 5),
        # Two digits: the tenth output is later than the second.
        ("a_0_10", 0, 5),
        ("a_1_0", 1, 5),
        ("b_0_0", 1, 5),
    ]
    facts = read(rows)
    verdict, metrics = facts.difficulty(OBJECTIVE, 2)
    assert facts.counted.tolist() == [False, False, True, True, True]
    assert verdict.tolist() == [True, True, True, True, False]
    assert metrics["htpo/pass_rate"] == pytest.approx((0.5 + 1.0) / 2)
    assert metrics["htpo/rows_dropped_empty_or_not_final"] == 2.0


def test_a_response_without_valid_tokens_does_not_count():
    facts = read([("a_0_0", 1, 4), ("a_1_0", 0, 0), ("a_2_0", 1, 3)])
    verdict, metrics = facts.difficulty(OBJECTIVE, 3)
    assert metrics["htpo/pass_rate"] == 1.0 and verdict.tolist() == [False] * 3
    assert metrics["htpo/rows_dropped_empty_or_not_final"] == metrics["htpo/short_prompts"] == 1.0


def test_extra_fields_may_be_wrapped_by_tensordict():
    facts = ResponseFacts.read(["a_0_0"], ["a"], [NonTensorData(extra(1.0))], torch.tensor([1]), [False])
    assert facts.correct.tolist() == [True]


@pytest.mark.parametrize("fields", [{}, {"reward_extra_info": {"score": 1.0, "pred": "3"}}, None])
def test_missing_acc_names_the_prompt_and_the_remedy(fields):
    with pytest.raises(KeyError, match="prompt q7 has no `acc`.*custom_reward_function"):
        ResponseFacts.read(["q7_0_0"], ["q7"], [fields], torch.tensor([1]), [False])


def test_missing_acc_lists_what_is_there():
    with pytest.raises(KeyError, match="it has: pred, score"):
        ResponseFacts.read(
            ["a_0_0"], ["a"], [{"reward_extra_info": {"score": 1.0, "pred": "3"}}], torch.tensor([1]), [False]
        )


def test_nan_acc_is_an_error():
    with pytest.raises(ValueError, match="acc is NaN in 1 of 2 responses"):
        read(group("a", [1.0, float("nan")]))


def test_reasons_become_shares_and_numbers_means():
    infos = [
        {"acc": 1.0, "score": 1.0, "pred": "5", "reason": "equal", "math_dapo_agrees": 1.0},
        {"acc": 0.0, "score": -1.0, "pred": "", "reason": "extraction", "math_dapo_agrees": 0.0},
    ]
    fields = [{"reward_extra_info": info} for info in [*infos, infos[0]]]
    facts = ResponseFacts.read(
        ["a_0_0", "a_1_0", "p_0_0"], ["a", "a", "p"], fields, torch.tensor([3, 3, 0]), [False, False, True]
    )
    metrics = facts.reward_metrics()
    assert metrics["reward/reason_equal"] == metrics["reward/reason_extraction"] == 0.5
    assert metrics["reward/reason_over_limit"] == 0.0
    assert metrics["reward/math_dapo_agrees"] == 0.5 and metrics["reward/score"] == 0.0
    assert not any("pred" in name for name in metrics)


def test_pass_rate_before_dynamic_sampling_dropped_prompts():
    """Two mixed prompts of .5 kept, two more not needed, one all right, three all wrong: (4 * .5 + 1) / 8."""
    dropped = DroppedGroups.read({UNIFORM_GROUPS: {1.0: 1, 0.0: 3}, SURPLUS_GROUPS: 2})
    facts = read(group("a", [1, 0]) + group("b", [0, 1]))
    assert facts.difficulty(OBJECTIVE, 2, dropped)[1]["htpo/pass_rate_generated"] == pytest.approx(3 / 8)
    nothing = DroppedGroups.read({})
    assert facts.difficulty(OBJECTIVE, 2, nothing)[1]["htpo/pass_rate_generated"] == 0.5
    assert "htpo/pass_rate_generated" not in facts.difficulty(OBJECTIVE, 2)[1]
