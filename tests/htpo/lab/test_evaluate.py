# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
from math import log

import pytest
import torch

from recipe.htpo.lab import evaluate as module
from recipe.htpo.lab.arithmetic import problems
from recipe.htpo.lab.evaluate import evaluate, results_table
from recipe.htpo.lab.model import make_model, make_tokenizer
from recipe.htpo.lab.recipes import WarmupRecipe
from recipe.htpo.lab.training import train


def test_a_fresh_model_knows_nothing_and_is_sampled_at_temperature_one():
    tokenizer = make_tokenizer()
    model = make_model(tokenizer, seed=0)
    sample = problems("test", 6, seed=0, terms=(2, 5))
    state = torch.get_rng_state()
    results = evaluate(model, tokenizer, sample, n=2, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert results == evaluate(model, tokenizer, sample, n=2, seed=1)
    assert set(results) == {2, 5, "all"}
    assert results["all"].prompts == 6 == results[2].prompts + results[5].prompts
    assert results["all"].pass_at == {1: 0.0, 2: 0.0} and results["all"].greedy == 0.0
    assert results["all"].first_token_entropy == pytest.approx(log(264), abs=0.1)


def test_a_model_that_has_learnt_one_problem_is_right_about_it():
    recipe = WarmupRecipe(steps=60, batch_size=8, pool=1, terms=(3,), direct_fraction=1.0)
    model, tokenizer, _ = train(recipe)
    results = evaluate(model, tokenizer, problems("train", 1, recipe.seed, recipe.terms), n=4)
    assert results["all"].greedy == 1.0
    assert results["all"].pass_at[4] == 1.0
    assert results["all"].first_token_entropy < 0.5
    assert results["all"].mean_response_tokens < 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "is no directory of a model: it has no config.json"),
        (["--n", "0"], "argument --n: must be at least 1, got 0"),
        (["--prompts", "0"], "argument --prompts: must be at least 1, got 0"),
        (["--prompts", "600", "--task", "countdown"], "argument --prompts: count=600 asks for more problems than"),
    ],
)
def test_mistakes_of_the_command_line_are_named(tmp_path, monkeypatch, capsys, arguments, message):
    if arguments:
        (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr("sys.argv", ["evaluate", str(tmp_path), *arguments])
    with pytest.raises(SystemExit, match="2"):
        module.main()
    assert message in capsys.readouterr().err


def test_summary_of_known_counts():
    answers = [
        module._Answers(
            correct=[True] * count + [False] * (4 - count), greedy=count > 1, tokens=[3] * 4, first_token_entropy=0.5
        )
        for count in (0, 1, 3, 4)
    ]
    result = module._summarise(answers, 4)
    assert result.pass_at[1] == pytest.approx((0 + 1 + 3 + 4) / 16)
    assert result.pass_at[2] == pytest.approx((0 + 1 / 2 + 1 + 1) / 4)
    assert result.pass_at[4] == pytest.approx(3 / 4)
    assert (result.mixed_prompts, result.easy_prompts, result.greedy) == (2, 2, 0.5)
    assert (result.first_token_entropy, result.mean_response_tokens) == (0.5, 3.0)
    assert results_table({"all": result}, "title").row_count == 1
