# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracy before and after, from the files that verl's trainer writes, and its interval."""

import numpy as np
import pytest
from verl.trainer.ppo.v1.trainer_base import PPOTrainer

from recipe.htpo.run.held_out import VALIDATION_DIR, change


def dump(output_dir, step, accuracies):
    """Write `{prompt: [acc, ...]}` with verl's own writer."""
    prompts = [prompt for prompt, values in accuracies.items() for _ in values]
    acc = [value for values in accuracies.values() for value in values]
    count = len(prompts)
    PPOTrainer._write_generations(
        prompts, ["\\boxed{1}"] * count, ["1"] * count, acc, {"acc": acc}, str(output_dir / VALIDATION_DIR), step
    )


def test_prompts_are_paired_and_weigh_the_same(tmp_path):
    # The first and the last count, by number and not by name; the order of the prompts does not.
    dump(tmp_path, 0, {"1+1": [0.0, 1.0], "2+2": [0.0, 0.0], "3+3": [1.0, 1.0]})
    dump(tmp_path, 9, {"1+1": [0.0, 0.0], "2+2": [0.0, 0.0], "3+3": [0.0, 0.0]})
    dump(tmp_path, 30, {"3+3": [1.0, 1.0], "2+2": [1.0, 1.0], "1+1": [1.0, 1.0]})
    found = change(tmp_path)
    assert (found.first_step, found.last_step, found.prompts, found.responses) == (0, 30, 3, 2)
    assert found.before == pytest.approx(0.5) and found.after == 1.0
    # Differences 0.5, 1 and 0: Student's t with two degrees of freedom.
    assert found.low == pytest.approx(0.5 - 4.3027 * (1 / 12) ** 0.5, abs=1e-4) and found.high == 1.0


def test_the_interval_has_the_width_of_the_normal_one(tmp_path):
    rng = np.random.default_rng(1)
    before, after = rng.binomial(3, 0.4, 256), rng.binomial(3, 0.6, 256)
    for step, counts in ((0, before), (30, after)):
        dump(tmp_path, step, {str(i): [1.0] * count + [0.0] * (3 - count) for i, count in enumerate(counts)})
    found = change(tmp_path)
    difference = (after - before) / 3
    half_width = 1.96 * difference.std(ddof=1) / 16
    assert found.low == pytest.approx(difference.mean() - half_width, abs=0.02 * half_width)
    assert found.high == pytest.approx(difference.mean() + half_width, abs=0.02 * half_width)


def test_one_validation_shows_no_change(tmp_path):
    assert change(tmp_path) is None
    dump(tmp_path, 0, {"1+1": [0.0], "2+2": [1.0]})
    assert change(tmp_path) is None


def test_a_line_that_was_not_finished_is_left_out(tmp_path):
    for step in (0, 1):
        dump(tmp_path, step, {"1+1": [1.0], "2+2": [1.0]})
    with (tmp_path / VALIDATION_DIR / "1.jsonl").open("a") as stream:
        stream.write('{"input": "1+1", "acc')
    found = change(tmp_path)
    assert (found.before, found.after, found.responses) == (1.0, 1.0, 1)
    # Two prompts that did not change are no certainty.
    assert found.low < -0.5 and found.high > 0.5


@pytest.mark.parametrize(
    "line, says",
    [
        ('{"input": "1+1", "acc', "is no JSON"),
        ('["1+1"]', "is no JSON object"),
        ('{"input": "1+1", "acc": NaN}', "field acc: nan"),
        ('{"input": "1+1", "acc": "1"}', "field acc: '1'"),
        ('{"acc": 1.0}', "field input: None is no prompt"),
    ],
)
def test_another_damaged_line_is_named(tmp_path, line, says):
    for step in (0, 1):
        dump(tmp_path, step, {"1+1": [1.0], "2+2": [1.0]})
    file = tmp_path / VALIDATION_DIR / "1.jsonl"
    file.write_text(f"{line}\n{file.read_text()}")
    with pytest.raises(ValueError, match=rf"1\.jsonl: line 1.*{says}.*; delete the line, or validate again"):
        change(tmp_path)


def test_two_validations_of_one_prompt_are_two(tmp_path):
    for step in (0, 1):
        dump(tmp_path, step, {"1+1": [1.0]})
    with pytest.raises(ValueError, match=r"0\.jsonl and .*1\.jsonl have 1 prompts in common; an interval needs two"):
        change(tmp_path)
