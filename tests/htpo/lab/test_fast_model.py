# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from recipe.htpo.lab.fast_model import FastModel, Sample
from recipe.htpo.lab.model import make_model, make_tokenizer, prompt_ids

QUESTIONS = ("3+4", "9-2+5-1+3", "1+1+1", "9-2+5-1+3")


@pytest.fixture(scope="module")
def fast():
    tokenizer = make_tokenizer()
    model = make_model(tokenizer, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            # Far from uniform, so that entropies differ.
            parameter.mul_(3.0)
        prompts = [prompt_ids(tokenizer, question) for question in QUESTIONS]
        likely = model(torch.tensor(prompts[:1])).logits[0, -1].argmax()
    # A likely end token, so that responses end early.
    return FastModel(model, int(likely)), prompts


def _sampled(fast, n: int = 3, max_tokens: int = 20, seed: int = 0) -> list[list[Sample]]:
    model, prompts = fast
    return model.generate(prompts, n, max_tokens, torch.Generator().manual_seed(seed), batch=8)


def _reference(model: Qwen2ForCausalLM, samples: list[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and entropies of all response tokens by the Hugging Face module, one sequence at a time."""
    log_probs, entropies = [], []
    for sample in samples:
        ids = torch.tensor([sample.prompt + sample.response[:-1]])
        scores = model(ids, use_cache=False).logits[0, len(sample.prompt) - 1 :].log_softmax(-1)
        log_probs.append(scores.gather(1, torch.tensor(sample.response)[:, None])[:, 0])
        entropies.append(-(scores.exp() * scores).sum(-1))
    return torch.cat(log_probs), torch.cat(entropies)


def test_log_probabilities_entropies_and_gradients_are_those_of_the_hugging_face_model(fast):
    model = fast[0].model
    samples = [sample for prompt_samples in _sampled(fast) for sample in prompt_samples]
    log_probs, entropy = fast[0].log_probs(samples)
    expected, expected_entropy = _reference(model, samples)
    torch.testing.assert_close(log_probs, expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(entropy, expected_entropy, atol=1e-4, rtol=1e-5)
    assert not entropy.requires_grad

    weights = torch.randn(len(log_probs), generator=torch.Generator().manual_seed(1))
    parameters = dict(model.named_parameters())
    gradients = torch.autograd.grad((log_probs * weights).sum(), list(parameters.values()))
    expected_gradients = torch.autograd.grad((expected * weights).sum(), list(parameters.values()))
    for name, gradient, other in zip(parameters, gradients, expected_gradients, strict=True):
        error = (gradient - other).norm() / other.norm()
        assert error < 1e-3, name


def test_the_sampler_reports_the_log_probabilities_and_entropies_of_the_hugging_face_model(fast):
    samples = [sample for prompt_samples in _sampled(fast) for sample in prompt_samples]
    with torch.no_grad():
        log_probs, entropy = _reference(fast[0].model, samples)
    torch.testing.assert_close(torch.cat([s.log_probs for s in samples]), log_probs, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(torch.cat([s.entropy for s in samples]), entropy, atol=1e-4, rtol=1e-5)


def test_responses_stay_with_their_prompts_and_end_at_the_end_token(fast):
    model, prompts = fast
    sampled = _sampled(fast, n=6, max_tokens=30)
    assert [[sample.prompt for sample in samples] for samples in sampled] == [[prompt] * 6 for prompt in prompts]
    lengths = set()
    for sample in (sample for samples in sampled for sample in samples):
        assert model.end not in sample.response[:-1]
        assert sample.response[-1] == model.end or len(sample.response) == 30
        assert len(sample.response) == len(sample.log_probs) == len(sample.entropy)
        lengths.add(len(sample.response))
    assert len(lengths) > 4


def test_the_same_seed_gives_the_same_samples(fast):
    def responses(seed: int) -> list[list[list[int]]]:
        return [[sample.response for sample in samples] for samples in _sampled(fast, seed=seed)]

    assert responses(0) == responses(0) != responses(1)


def test_tokens_are_drawn_with_the_probabilities_of_the_model(fast):
    model, prompts = fast
    n = 20_000
    drawn = model.generate(prompts[:1], n, 1, torch.Generator().manual_seed(0), batch=n)[0]
    counts = torch.bincount(torch.tensor([sample.response[0] for sample in drawn]), minlength=264)
    with torch.no_grad():
        probabilities = model.model(torch.tensor(prompts[:1])).logits[0, -1].softmax(-1)
    errors = (counts / n - probabilities) / (probabilities * (1 - probabilities) / n).sqrt()
    assert errors.abs().max() < 5
    assert errors.square().mean() < 1.5


def test_several_key_value_heads():
    config = Qwen2Config(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
        eos_token_id=1,
    )
    torch.manual_seed(0)
    fast = FastModel(Qwen2ForCausalLM(config), end_id=1)
    samples = fast.generate([[5, 6, 7], [8]], 2, 12, torch.Generator().manual_seed(0))
    flat = [sample for prompt_samples in samples for sample in prompt_samples]
    with torch.no_grad():
        expected, _ = _reference(fast.model, flat)
        log_probs, _ = fast.log_probs(flat)
    torch.testing.assert_close(log_probs, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.cat([sample.log_probs for sample in flat]), expected, atol=1e-5, rtol=1e-5)
