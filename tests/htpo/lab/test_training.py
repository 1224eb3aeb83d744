# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
import re

import pytest
import torch

from recipe.htpo.lab import training
from recipe.htpo.lab.arithmetic import Problem, split_of
from recipe.htpo.lab.model import make_model, make_tokenizer
from recipe.htpo.lab.recipes import WarmupRecipe
from recipe.htpo.lab.training import train

TINY = dict(steps=30, batch_size=8, pool=200, terms=(2, 3))


def decoded(recipe: WarmupRecipe, batches: int) -> list[tuple[str, str]]:
    tokenizer = make_tokenizer()
    examples = training._Examples(recipe, tokenizer)
    pairs = [pair for _ in range(batches) for pair in examples.batch()]
    assert all(response[-1] == tokenizer.eos_token_id for _, response in pairs)
    return [
        (tokenizer.decode(prompt, skip_special_tokens=True), tokenizer.decode(response, skip_special_tokens=True))
        for prompt, response in pairs
    ]


def test_a_few_steps_lower_the_loss_the_same_way_each_time():
    model, _, losses = train(WarmupRecipe(**TINY))
    again, _, same_losses = train(WarmupRecipe(**TINY))
    assert losses[0] == pytest.approx(5.6, abs=0.3)  # about ln 264: a fresh model knows nothing
    assert losses[-1] < 2.5
    assert losses == same_losses
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_examples_are_the_asked_mixture_of_training_problems():
    recipe = WarmupRecipe(batch_size=100, direct_fraction=0.25, slip_rate=0.1, terms=(2, 4), pool=500)
    pairs = decoded(recipe, batches=30)
    assert {split_of(question) for question, _ in pairs} == {"train"}
    direct = [response for _, response in pairs if "=" not in response]
    assert len(direct) / len(pairs) == pytest.approx(0.25, abs=0.03)
    worked = [(question, response) for question, response in pairs if "=" in response]
    for length, share in ((3, 0.1), (7, 1 - 0.9**3)):
        answers = [(q, re.findall(r"\d+", r)[-1]) for q, r in worked if len(q) == length]
        wrong = sum(str(eval(question)) != answer for question, answer in answers)
        assert wrong / len(answers) == pytest.approx(share, abs=0.05)
    short = sum(len(question) == 3 for question, _ in pairs)
    assert short / len(pairs) == pytest.approx(0.5, abs=0.04)


def test_micro_batches_and_padding_leave_the_gradient_alone():
    tokenizer = make_tokenizer()
    problems = [Problem("3+4", "7", 2), Problem("3+4-2+5", "10", 4), Problem("9-1", "8", 2)]
    batch = [
        (tokenizer.encode(problem.question), [*tokenizer.encode(f"\\boxed{{{problem.answer}}}" * repeat), 256])
        for repeat, problem in enumerate(problems, start=1)
    ]
    model = make_model(tokenizer, seed=0)
    loss = training._accumulate_gradients(model, batch, tokenizer.pad_token_id)
    gradients = [parameter.grad.clone() for parameter in model.parameters()]

    model.zero_grad()
    log_probs = []
    for prompt, response in batch:
        logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        log_probs.append(logits.gather(-1, torch.tensor(response)[:, None])[:, 0])
    expected = -torch.cat(log_probs).mean()
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-5)
    for gradient, parameter in zip(gradients, model.parameters(), strict=True):
        assert torch.allclose(gradient, parameter.grad, atol=1e-5)


def test_learning_rate_rises_then_falls_to_a_tenth():
    factors = [training._Schedule(100)(step) for step in range(101)]
    assert factors[0] == pytest.approx(0.2)
    assert factors.index(max(factors)) in (4, 5)
    assert factors[100] == pytest.approx(0.1)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(steps=0), "steps must be at least 1"),
        (dict(batch_size=0), "batch_size must be at least 1"),
        (dict(direct_fraction=1.5), "direct_fraction must be between 0 and 1"),
        (dict(slip_rate=-0.1), "slip_rate must be between 0 and 1"),
        (dict(lr=0.0), "lr must be positive"),
    ],
)
def test_bad_recipes_name_the_field(change, message):
    with pytest.raises(ValueError, match=message):
        WarmupRecipe(**change)
