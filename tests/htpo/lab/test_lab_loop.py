# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from verl.trainer.ppo.core_algos import agg_loss

from recipe.htpo.inspect.dump import DumpConfig, read_dump
from recipe.htpo.inspect.totals import compare, read_logged
from recipe.htpo.lab import task
from recipe.htpo.lab.loop import Lab, RunPlan, _Batch, run
from recipe.htpo.lab.model import make_model, make_tokenizer
from recipe.htpo.lab.regime import load_regime, regime_names
from recipe.htpo.lab.task import TASKS
from recipe.htpo.objective import TokenGroups, load_preset, token_loss

REGIME = load_regime("off_policy", {"prompts": 2, "responses": 4, "updates": 2, "lr": 1e-3})


def plan(objective: str = "htpo", **values) -> RunPlan:
    defaults = {"regime": REGIME, "seed": 1, "steps": 2, "eval_every": 1, "eval_prompts": 3, "eval_samples": 8}
    return RunPlan(objective=load_preset(objective), **{**defaults, **values})


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    """A model without knowledge: short responses, all wrong."""
    directory = tmp_path_factory.mktemp("model")
    tokenizer = make_tokenizer()
    model = make_model(tokenizer, seed=0)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
def lenient(monkeypatch):
    """Accepts about half of all texts, whatever they say; responses are short."""
    short = replace(TASKS["arithmetic"], max_response_tokens=12)
    monkeypatch.setitem(TASKS, "arithmetic", short)
    monkeypatch.setattr(task, "compute_score", lambda _, text, *rest: {"acc": float(sum(text.encode()) % 2)})


def _batch(lab: Lab) -> _Batch:
    samples, correct, _ = lab._mixed_prompts()
    return _Batch.make(samples, torch.tensor(correct), lab.plan)


@pytest.mark.parametrize("objective", ["dapo", "htpo", "htpo_released"])
def test_the_loss_is_that_of_padded_rows_and_verls_token_mean(model_dir, lenient, objective):
    lab = Lab(model_dir, plan(objective))
    batch = _batch(lab)
    # As after some updates: ratios on both sides of the clip range.
    noise = torch.randn(batch.mask.shape, generator=torch.Generator().manual_seed(2))
    batch = replace(batch, old_log_probs=batch.old_log_probs + 0.5 * noise * batch.mask)
    rows = torch.tensor([4, 5, 6, 7])
    loss, counts = lab.loss(batch, rows)

    width = max(len(batch.samples[row].prompt) + len(batch.samples[row].response) for row in rows)
    ids = torch.full((4, width), lab.fast.end)
    log_prob, mask = torch.zeros(batch.mask[rows].shape), batch.mask[rows]
    for i, row in enumerate(rows.tolist()):
        sample = batch.samples[row]
        ids[i, : len(sample.prompt) + len(sample.response)] = torch.tensor(sample.prompt + sample.response)
    scores = lab.model(ids[:, :-1]).logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    for i, row in enumerate(rows.tolist()):
        start, length = len(batch.samples[row].prompt) - 1, len(batch.samples[row].response)
        log_prob[i, :length] = scores[i, start : start + length]
    output = token_loss(
        log_prob,
        batch.old_log_probs[rows],
        batch.advantages[rows],
        mask,
        TokenGroups.decode(batch.codes[rows]),
        lab.plan.objective,
        0.2,
        0.28,
        10.0,
    )
    expected = agg_loss(output.loss, mask, "token-mean")
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-4)
    gradients = [torch.autograd.grad(value, lab.model.model.norm.weight)[0] for value in (loss, expected)]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-3)
    assert counts[0] == output.replaced.sum() and counts[1] == output.detached.sum()
    assert counts[3] == output.ppo_clip.sum() > 0


def test_batches_hold_whole_mixed_prompts_with_group_normalised_advantages(model_dir, lenient):
    lab = Lab(model_dir, plan())
    samples, correct, pass_rates = lab._mixed_prompts()
    batch = _Batch.make(samples, torch.tensor(correct), lab.plan)
    assert len(samples) == 8 and len(pass_rates) >= 2
    for start in (0, 4):
        group = slice(start, start + 4)
        assert len({tuple(sample.prompt) for sample in samples[group]}) == 1
        assert 0 < sum(correct[group]) < 4
        advantages = batch.advantages[group, 0]
        assert advantages.sum().abs() < 1e-5 and advantages.std() == pytest.approx(1.0, abs=1e-3)
        assert (advantages > 0).tolist() == correct[group]
        assert batch.hard[group].tolist() == [sum(correct[group]) / 4 < 0.6] * 4


def test_old_log_probabilities_are_those_of_the_policy_before_its_first_update(model_dir, lenient):
    lab = Lab(model_dir, plan())
    batch = _batch(lab)
    log_probs, entropy = lab.fast.log_probs(batch.samples)
    torch.testing.assert_close(log_probs, batch.old_log_probs[batch.mask], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(entropy, batch.entropy[batch.mask], atol=1e-4, rtol=1e-4)


def test_a_step_trains_and_counts_its_tokens(model_dir, lenient):
    lab = Lab(model_dir, plan())
    before = lab.model.lm_head.weight.detach().clone()
    record = lab.step(0)
    assert record["mixed"] == 2 and 0 < record["train_pass_rate"] < 1
    assert not torch.equal(before, lab.model.lm_head.weight)
    for name in ("replaced", "detached", "detached_group_1", "clipped", "destroyed", "hard"):
        assert 0 <= record[name] <= 1
    assert record["entropy"] > 0


def test_records_of_a_run(model_dir, lenient):
    start = Lab(model_dir, plan()).evaluate()
    assert len(start["counts"]) == 3
    result = run(model_dir, plan(steps=3, eval_every=2), start)
    assert result["collapsed"] is False
    assert [record["step"] for record in result["steps"]] == [1, 2, 3]
    assert [record["evaluated"] for record in result["steps"]] == [0, 2, 3]
    assert ["counts" in record for record in result["steps"]] == [False, True, True]
    assert result["steps"][0]["pass@8"] == pytest.approx(start["pass@8"], abs=1e-6)
    for record in result["steps"]:
        for key in ("pass@1", "pass@8", "replaced", "treated", "entropy"):
            assert isinstance(record[key], float)
    again = run(model_dir, plan(steps=3, eval_every=2), start)
    assert [record["entropy"] for record in again["steps"]] == [record["entropy"] for record in result["steps"]]


def test_a_run_without_mixed_prompts_ends_and_says_so(model_dir):
    start = {"pass@1": 0.5, "pass@8": 0.5}
    small = load_regime("off_policy", {"prompts": 1, "responses": 2, "updates": 1, "max_generation_factor": 1})
    result = run(model_dir, plan(steps=5, eval_every=5, regime=small), start)
    assert result["collapsed"] == "no prompt with right and wrong responses at step 1"
    assert [record["step"] for record in result["steps"]] == [1]
    assert result["steps"][0]["pass@1"] == 0.0
    assert result["steps"][0]["entropy"] is None and result["steps"][0]["replaced"] is None


def test_a_last_step_without_mixed_prompts_repeats_what_was_measured(model_dir, lenient, monkeypatch):
    real_step = Lab.step

    def step(lab, index):
        if index == 1:
            monkeypatch.setattr(task, "compute_score", lambda *_: {"acc": 0.0})
        return real_step(lab, index)

    monkeypatch.setattr(Lab, "step", step)
    first, last = run(model_dir, plan(steps=3, eval_every=5), {"pass@1": 0.5, "pass@8": 0.5})["steps"]
    assert (first["mixed"], last["mixed"]) == (2, 0) and first["entropy"] > 0
    assert (last["entropy"], last["replaced"]) == (first["entropy"], first["replaced"]) and "treated" not in last


def test_a_run_that_lost_its_ability_ends_and_says_so(model_dir, lenient, monkeypatch):
    monkeypatch.setattr(Lab, "evaluate", lambda lab, final: {"pass@1": 0.01, "pass@8": 0.05, "counts": []})
    result = run(model_dir, plan(steps=5, eval_every=2), {"pass@1": 0.5, "pass@8": 0.5})
    assert result["collapsed"] == "held-out pass@1 0.010 at step 2"
    assert [record["step"] for record in result["steps"]] == [1, 2]
    monkeypatch.setattr(
        Lab, "evaluate", lambda lab, final: {"pass@1": 0.01, "pass@8": 0.05, "samples": 64 if final else 8}
    )
    result = run(model_dir, plan(steps=5, eval_every=2, final_samples=64), {"pass@1": 0.5, "pass@8": 0.5})
    assert result["steps"][-1]["samples"] == 64


def test_regimes():
    assert regime_names() == ("near_policy", "off_policy")
    near, off = load_regime("near_policy"), load_regime("off_policy")
    assert (near.updates, near.lr, near.lr_schedule) == (4, 4e-5, "cosine")
    assert (off.updates, off.lr, off.lr_schedule) == (8, 1e-4, "constant")
    assert [off.lr_at(step, 40) for step in (0, 1, 39)] == [5e-5, 1e-4, 1e-4]
    assert near.lr_at(1, 40) == pytest.approx(4e-5, rel=0.01) and near.lr_at(39, 40) < 1e-6


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("on_policy", {}, "near_policy, off_policy"),
        ("off_policy", {"rate": 1}, "no field rate"),
        ("off_policy", {"updates": 0}, "updates must be positive"),
        ("off_policy", {"responses": 1}, "at least 2"),
        ("off_policy", {"lr_schedule": "linear"}, "constant or cosine"),
    ],
)
def test_bad_regimes_are_refused(name, overrides, message):
    with pytest.raises(ValueError, match=message):
        load_regime(name, overrides)


@pytest.mark.parametrize("objective", ["htpo_paper", "htpo_released", "thr_htpo"])
def test_dumped_tokens_are_those_of_the_step_and_change_nothing(model_dir, lenient, tmp_path, objective):
    """`htpo_released` splits tokens by the current policy's entropy; `thr_htpo` weighs advantages by THR."""
    chosen = DumpConfig(steps=(2,), prompts=None)
    # The second update of a step has ratios other than 1.
    one = plan(objective, regime=replace(REGIME, lr=1e-2))
    start = {"pass@1": 0.0, "pass@8": 0.0}
    expected = run(model_dir, one, start)
    written = run(model_dir, one, start, chosen, tmp_path / "seed_1")
    for record in (*expected["steps"], *written["steps"]):
        record.pop("cpu_s")
    assert written == expected
    (tmp_path / "seed_1.json").write_text(json.dumps(written))
    (dump,) = read_dump(tmp_path / "seed_1")
    assert dump.step == 2 and dump.is_whole and len(dump.table) == 8
    comparison = compare(dump, read_logged(tmp_path / "seed_1")[2])
    assert comparison.compared == 11 and not comparison.different
    detached = (dump.flat("fired") == "detached").mean()
    record = written["steps"][1]
    assert ("weight" in dump.table.column_names) == ("thr" in dump.table.column_names) == (objective == "thr_htpo")
    if objective == "thr_htpo":
        assert len(np.unique(dump.flat("weight"))) > 1 and np.unique(dump.flat("thr")).size > 1
    assert detached == pytest.approx(record["detached"], abs=1e-6) and record["clipped"] > 0
    assert dump.flat("entropy").mean() == pytest.approx(record["entropy"], rel=0.2)
    assert (
        dump.table["pass_rate"].to_pylist()
        == np.repeat(dump.table["correct"].to_numpy().reshape(2, 4).mean(1), 4).tolist()
    )


def test_a_random_split_moves_the_groups_and_keeps_their_sizes(model_dir, lenient):
    batches = []
    for control in (None, "random_split"):
        lab = Lab(model_dir, plan(control=control))
        samples, correct, _ = lab._mixed_prompts()
        batches.append(lab._batch(samples, correct))
    by_entropy, by_chance = batches
    assert by_entropy.samples[0].response == by_chance.samples[0].response
    assert not torch.equal(by_entropy.codes, by_chance.codes)
    torch.testing.assert_close(by_entropy.codes.sort(-1).values, by_chance.codes.sort(-1).values, atol=0, rtol=0)


def test_a_random_reward_is_fair_and_is_for_training_alone(model_dir, lenient, monkeypatch):
    monkeypatch.setattr(task, "compute_score", lambda *_: {"acc": 0.0})
    lab = Lab(model_dir, plan(control="random_reward", regime=replace(REGIME, prompts=32)))
    _, correct, pass_rates = lab._mixed_prompts()
    assert 0.3 < sum(correct) / len(correct) < 0.7
    assert set(pass_rates) == {0.0} and lab.evaluate()["pass@1"] == 0.0


def test_the_first_and_the_last_evaluation_take_the_final_samples(model_dir, lenient):
    asked = plan(final_samples=16)
    start = Lab(model_dir, asked).evaluate(final=True)
    steps = run(model_dir, asked, start)["steps"]
    assert [start["samples"], *(record["samples"] for record in steps)] == [16, 8, 16]


@pytest.mark.parametrize(
    "values", [{"control": "random"}, {"final_samples": 4}, {"eval_samples": 1}, {"task": "chess"}]
)
def test_a_plan_names_the_field_that_is_wrong(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        plan(**values)
