# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Every registered advantage transform against its formula, in plain Python, and what all of them keep."""

import math
import statistics

import pytest
import torch

from recipe.htpo.objective.weights import (
    NthrParameters,
    ThrParameters,
    WeightBatch,
    WeightConfig,
    nthr_metrics,
    register_weight,
    thr_metrics,
    weight_names,
)
from recipe.htpo.preflight.keys import OWN_ESTIMATORS

PARAMETERS = {
    "thr": {"p": 0.1},
    "nthr": {},
    "ar": {},
    "w_reinforce": {},
    "sequence_mask": {},
    "qae": {},
    "maxrl": {},
    "asymre": {},
    "gtpo": {},
    "intuitor": {},
}
LENS = [3, 5, 2, 4, 1, 3, 2, 0, 4]
CORRECT = [True, False, True, False, False, False, False, True, True]
PROMPT = [0, 0, 0, 0, 1, 1, 1, 1, 2]
ROWS, WIDTH = len(LENS), 6
"""Prompt 0 is mixed; the correct response of prompt 1 is empty; prompt 2 is one correct response."""


def batch(dtype: torch.dtype = torch.float64, garbage: float = torch.nan, **changes) -> WeightBatch:
    """A batch with `garbage` outside the response mask."""
    generator = torch.Generator().manual_seed(5)
    mask = torch.arange(WIDTH) < torch.tensor(LENS)[:, None]

    def draw() -> torch.Tensor:
        return torch.rand(ROWS, WIDTH, generator=generator, dtype=torch.float64).to(dtype)

    correct = torch.tensor(CORRECT)
    fields = {
        "advantages": torch.where(correct, 1.5, -0.5).to(dtype)[:, None].expand(ROWS, WIDTH),
        "old_log_prob": -3 * draw(),
        "rollout_log_prob": -3 * draw(),
        "entropy": 2 * draw(),
        "score": 2 * draw() - 1,
        "margin": 5 * draw(),
    }
    fields = {name: value.where(mask, garbage) for name, value in fields.items()}
    fields |= {"response_mask": mask, "correct": correct, "prompt_index": torch.tensor(PROMPT)}
    fields["anchor"] = torch.tensor([0.3, math.nan, 0.2, math.nan] + 5 * [math.nan], dtype=dtype)
    return WeightBatch(**(fields | changes))


def transformed(name: str, parameters: dict, given: WeightBatch) -> list[list[float]]:
    """Advantages of the valid tokens, row by row."""
    advantages = WeightConfig.from_mapping(name, parameters)(given)
    assert not advantages[~given.valid].any()
    return [row[: LENS[i]] for i, row in enumerate(advantages.tolist())]


def expected_rows(value) -> list:
    """`value(i, t)` for every valid token."""
    return [[pytest.approx(value(i, t), rel=1e-9, abs=1e-9) for t in range(n)] for i, n in enumerate(LENS)]


def rewards(i: int) -> list[int]:
    """Verified answers of the counted responses of the row's prompt."""
    return [int(CORRECT[k]) for k in range(ROWS) if PROMPT[k] == PROMPT[i] and LENS[k]]


def test_every_transform_has_a_case():
    assert set(PARAMETERS) == set(weight_names())


def test_those_that_the_preflight_knows_ignore_the_base_and_no_other_does():
    given, other = batch(), batch(advantages=batch().advantages * torch.linspace(0.5, 2.0, ROWS)[:, None])
    ignoring = {
        n
        for n, parameters in PARAMETERS.items()
        if transformed(n, parameters, given) == transformed(n, parameters, other)
    }
    assert ignoring == set(OWN_ESTIMATORS)


def test_thr():
    """tau is 0.2 in prompt 0 and the other prompts are not mixed."""
    given = batch()
    score = given.score.tolist()

    def value(i: int, t: int) -> float:
        base = 1.5 if CORRECT[i] else -0.5
        if PROMPT[i] != 0:
            return base
        signed = score[i][t] if CORRECT[i] else -score[i][t]
        return base * (1 + math.copysign(0.1, signed)) if abs(signed) > 0.2 else 0.0

    assert transformed("thr", {"p": 0.1}, given) == expected_rows(value)
    kept = [abs(score[i][t]) > 0.2 for i in range(4) for t in range(LENS[i])]
    metrics = thr_metrics(given, ThrParameters(p=0.1))
    assert metrics["thr/kept_frac"] == pytest.approx(statistics.mean(kept)) and metrics["thr/tau"] == pytest.approx(0.2)
    assert 0 < metrics["thr/kept_frac"] < 1


@pytest.mark.parametrize("eta, factor", [("distance", 0.0), ("pass_rate", 0.5), ("fail_rate", 0.5), (0.3, 0.3)])
def test_nthr(eta, factor):
    given = batch()
    score = given.score.tolist()

    def value(i: int, t: int) -> float:
        if PROMPT[i] == 0 and not CORRECT[i] and score[i][t] > 0.2:
            return factor * -0.5
        return 1.5 if CORRECT[i] else -0.5

    assert transformed("nthr", {"eta": eta}, given) == expected_rows(value)
    selected = [score[i][t] > 0.2 for i in (1, 3) for t in range(LENS[i])]
    metrics = nthr_metrics(given, NthrParameters(eta=eta))
    assert metrics["nthr/selected_frac"] == pytest.approx(statistics.mean(selected))
    assert metrics["nthr/eta"] == pytest.approx(factor)


def test_nthr_eta_is_of_the_prompts_counted_responses():
    """Prompt 0 with one correct of three counted: 2 |0.5 - 1/3|, 1/3 and 2/3."""
    mask = torch.tensor([[1], [1], [1], [0]])
    given = WeightBatch(
        advantages=torch.ones(4, 1, dtype=torch.float64),
        response_mask=mask,
        correct=torch.tensor([True, False, False, True]),
        prompt_index=torch.zeros(4, dtype=torch.int64),
        score=torch.ones(4, 1, dtype=torch.float64),
        anchor=torch.tensor([0.5, torch.nan, torch.nan, torch.nan], dtype=torch.float64),
    )
    for eta, factor in (("distance", 1 / 3), ("pass_rate", 1 / 3), ("fail_rate", 2 / 3)):
        advantages = WeightConfig.from_mapping("nthr", {"eta": eta})(given)[:, 0].tolist()
        assert advantages == [1, pytest.approx(factor), pytest.approx(factor), 0]


def test_a_negative_tau_keeps_every_token_of_thr_and_is_counted():
    given = batch(anchor=torch.tensor([-0.1, *(8 * [0.0])], dtype=torch.float64))
    metrics = thr_metrics(given, ThrParameters(p=0.1))
    assert metrics["thr/kept_frac"] == 1 and metrics["thr/tau_negative_rate"] == 1


def test_a_score_of_zero_is_dropped_unless_tau_is_negative():
    for anchor, factor in ((0.0, 0.0), (-0.1, 1.0)):
        given = batch(score=torch.zeros(ROWS, WIDTH), anchor=torch.full((ROWS,), anchor))
        assert transformed("thr", {"p": 0.1}, given)[0] == [1.5 * factor] * 3


def test_scores_that_were_not_computed_are_refused():
    with pytest.raises(ValueError, match="anchor is NaN"):
        WeightConfig.from_mapping("thr", {"p": 0.1})(batch(anchor=torch.full((ROWS,), torch.nan)))


def test_ar():
    given = batch()
    prob = given.old_log_prob.exp().tolist()
    rows = transformed("ar", {"alpha": 0.3}, given)
    assert rows == expected_rows(lambda i, t: (0.3 * prob[i][t] + 0.7) * (1.5 if CORRECT[i] else -0.5))


def test_w_reinforce():
    rows = transformed("w_reinforce", {"positive": 0.2}, batch())
    assert rows == expected_rows(lambda i, t: 0.2 * 1.5 if CORRECT[i] else -0.5)


def test_sequence_mask():
    given = batch()
    distance = [
        statistics.mean((given.rollout_log_prob - given.old_log_prob)[i, :n].tolist()) if n else 0.0
        for i, n in enumerate(LENS)
    ]
    wrong = sorted(d for d, c in zip(distance, CORRECT, strict=True) if not c)
    delta = (max(wrong[1], 0) + wrong[-1]) / 2
    dropped = [not c and d > delta for d, c in zip(distance, CORRECT, strict=True)]
    assert 0 < sum(dropped) < CORRECT.count(False)
    rows = transformed("sequence_mask", {"delta": delta}, given)
    assert rows == expected_rows(lambda i, t: 0.0 if dropped[i] else 1.5 if CORRECT[i] else -0.5)


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.7])
def test_qae(quantile):
    """The quantile by definition: smallest reward whose share of rewards at or below it is at least K."""

    def value(i: int, t: int) -> float:
        group = rewards(i)
        if len(set(group)) == 1:
            return 0.0
        baseline = next(x for x in (0, 1) if statistics.mean(r <= x for r in group) >= quantile)
        return (CORRECT[i] - baseline) / (statistics.stdev(group) + 1e-6)

    rows = transformed("qae", {"quantile": quantile}, batch())
    assert rows == expected_rows(value)
    credited = {CORRECT[i] for i in range(4) if rows[i][0] != 0}
    assert credited == ({True} if quantile <= 0.5 else {False})


def test_intuitor():
    given = batch(garbage=0.0)
    certainty = [
        statistics.fmean((given.margin - given.old_log_prob)[row, :length].tolist()) if length else None
        for row, length in enumerate(LENS)
    ]

    def value(row: int, _: int) -> float:
        group = [certainty[other] for other in range(ROWS) if PROMPT[other] == PROMPT[row] and LENS[other]]
        if len(group) < 2:
            return 0.0
        return (certainty[row] - statistics.fmean(group)) / (statistics.stdev(group) + 1e-6)

    assert transformed("intuitor", {}, batch()) == expected_rows(value)
    counted = [row for row in range(ROWS) if LENS[row]]
    right, wrong = ([certainty[row] for row in counted if CORRECT[row] == side] for side in (True, False))
    weights = WeightConfig.from_mapping("intuitor")
    metrics = weights.metrics(given, weights(given))
    assert metrics["intuitor/self_certainty"] == pytest.approx(statistics.fmean(right + wrong))
    assert metrics["intuitor/correct_minus_wrong"] == pytest.approx(statistics.fmean(right) - statistics.fmean(wrong))
    # It never looks at the answers.
    assert transformed("intuitor", {}, batch(correct=torch.tensor(CORRECT).logical_not())) == expected_rows(value)


def test_maxrl():
    def value(i: int, t: int) -> float:
        mean = statistics.mean(rewards(i))
        return (CORRECT[i] - mean) / mean if mean else 0.0

    assert transformed("maxrl", {}, batch()) == expected_rows(value)


def test_asymre():
    rows = transformed("asymre", {"delta_v": -0.1}, batch())
    assert rows == expected_rows(lambda i, t: CORRECT[i] - statistics.mean(rewards(i)) + 0.1)


def test_gtpo():
    given = batch()
    entropy = given.entropy.tolist()

    def side(i: int) -> list[int]:
        return [k for k in range(ROWS) if PROMPT[k] == PROMPT[i] and CORRECT[k] == CORRECT[i]]

    def reward(i: int, t: int) -> float:
        running = [k for k in side(i) if LENS[k] > t]
        if CORRECT[i]:
            return 1 + 0.1 * len(running) * entropy[i][t] / sum(entropy[k][t] for k in running)
        return -1 - 0.1 * len(running) / entropy[i][t] / sum(1 / entropy[k][t] for k in running)

    def value(i: int, t: int) -> float:
        all_rewards = [reward(k, u) for k in side(i) for u in range(LENS[k])]
        return (reward(i, t) - statistics.mean(all_rewards)) / (statistics.pstdev(all_rewards) + 1e-8)

    rows = transformed("gtpo", {}, given)
    # Prompt 2 has one response: all its rewards are equal, and what is left of them is rounding.
    for row, expected in list(zip(rows, expected_rows(value), strict=True))[:8]:
        assert row == [pytest.approx(e.expected, rel=1e-5, abs=1e-6) for e in expected]
    assert max(abs(a) for a in rows[8]) < 1e-5


def test_gtpo_takes_rounded_entropies_below_zero_for_zero():
    given = batch()
    entropy = given.entropy.clone()
    entropy[0, 0], entropy[2, 0] = -1.9e-6, 2e-6
    expected = transformed("gtpo", {}, batch(entropy=entropy.clamp(min=0)))
    assert transformed("gtpo", {}, batch(entropy=entropy)) == expected


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_gtpo_refuses_entropies_that_are_not_finite(value):
    entropy = batch().entropy.clone()
    entropy[1, 2] = value
    with pytest.raises(ValueError, match="entropy is not finite in 1 response tokens, and gtpo"):
        WeightConfig.from_mapping("gtpo")(batch(entropy=entropy))


@pytest.mark.parametrize("name", PARAMETERS)
def test_values_outside_the_mask_have_no_effect(name):
    config = WeightConfig.from_mapping(name, PARAMETERS[name])
    result = config(batch(garbage=torch.nan))
    assert result.isfinite().all() and torch.equal(result, config(batch(garbage=7.0)))


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_row_without_tokens_changes_no_other_row(name):
    """Padding rows copy the first row's verdict and prompt."""
    config, given = WeightConfig.from_mapping(name, PARAMETERS[name]), batch()
    mask = torch.cat([given.response_mask, torch.zeros(1, WIDTH, dtype=torch.bool)])
    fields = {
        key: torch.cat([value, value[:1]])
        for key, value in vars(given).items()
        if value is not None and key != "response_mask"
    }
    padded = config(WeightBatch(response_mask=mask, **fields))
    assert torch.equal(padded[:-1], config(given)) and not padded[-1].any()


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_order_of_responses_has_no_effect(name):
    config, given = WeightConfig.from_mapping(name, PARAMETERS[name]), batch()
    order = torch.tensor([8, 3, 0, 5, 2, 7, 1, 4, 6])
    shuffled = WeightBatch(**{key: value[order] for key, value in vars(given).items() if value is not None})
    assert torch.allclose(config(shuffled), config(given)[order], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", PARAMETERS)
def test_the_result_has_the_advantages_dtype_and_no_gradient(name, dtype):
    given = batch(dtype)
    given.old_log_prob.requires_grad_()
    result = WeightConfig.from_mapping(name, PARAMETERS[name])(given)
    assert result.dtype == dtype and not result.requires_grad


@pytest.mark.parametrize("name, field", [("thr", "score"), ("nthr", "anchor"), ("ar", "old_log_prob")])
def test_a_missing_field_is_named(name, field):
    with pytest.raises(ValueError, match=field):
        WeightConfig.from_mapping(name, PARAMETERS[name])(batch(**{field: None}))


@pytest.mark.parametrize(
    "name, parameters, message",
    [
        ("thr", {"p": 1}, "p must be strictly"),
        ("thr", {"p": -1.2}, "p must be a number"),
        ("thr", {}, "missing .'p'"),
        ("thr", {"p": 0.1, "tau": 1}, "unknown .'tau'.*Valid keys: p, beta"),
        ("thr", {"p": 0.1, "beta": math.nan}, "beta"),
        ("thr", {"p": 0.1, "vocab": "all"}, "vocab.*vstar, full"),
        ("thr", {"p": 0.1, "anchor_exclude_self": "no"}, "anchor_exclude_self"),
        ("nthr", {"eta": "half"}, "eta.*distance"),
        ("nthr", {"eta": 2.0}, "eta"),
        ("nthr", {"beta": math.inf}, "beta"),
        ("ar", {"alpha": 1.5}, "alpha"),
        ("w_reinforce", {"positive": -1}, "positive"),
        ("sequence_mask", {"delta": -0.1}, "delta"),
        ("qae", {"quantile": 1}, "quantile"),
        ("asymre", {"delta_v": "low"}, "delta_v"),
        ("gtpo", {"alpha2": math.nan}, "alpha2"),
        ("maxrl", {"alpha": 1}, "Valid keys: none"),
        ("other", {}, "unknown weight 'other'. Valid weights: .*thr, nthr"),
    ],
)
def test_wrong_parameters_are_refused(name, parameters, message):
    with pytest.raises(ValueError, match=message):
        WeightConfig.from_mapping(name, parameters)


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="already registered"):
        register_weight("thr", ThrParameters)(lambda given, parameters: given.advantages)


@pytest.mark.parametrize("change", [{"anchor": torch.zeros(2)}, {"correct": torch.zeros(ROWS)}])
def test_a_wrong_batch_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        batch(**change)
