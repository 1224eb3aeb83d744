# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Supervised training of the demo model on a task in two styles, with a measured share of slips.

The data decides what reinforcement learning will find. Most solutions work step by step, some guess the answer at
once: the first token is a fork between a good way and a bad one. A few worked solutions contain a slip that is carried
on: the model learns to err now and then, so that most prompts see right and wrong samples.
"""

import random
from collections import defaultdict

import torch
import torch.nn.functional as F
from tqdm import tqdm
from transformers import Qwen2ForCausalLM, Qwen2Tokenizer

from recipe.htpo.lab.arithmetic import Problem
from recipe.htpo.lab.model import make_model, make_tokenizer, prompt_ids
from recipe.htpo.lab.muon import Muon
from recipe.htpo.lab.recipes import WarmupRecipe
from recipe.htpo.lab.task import TASKS

IGNORED_LABEL = -100
WARMUP_FRACTION = 0.05
MICRO_BATCHES = 4


def train(recipe: WarmupRecipe) -> tuple[Qwen2ForCausalLM, Qwen2Tokenizer, list[float]]:
    """Trains a fresh model in fp32. Returns it with its tokenizer and the loss (nats per token) of every step."""
    tokenizer = make_tokenizer()
    model = make_model(tokenizer, recipe.seed)
    examples = _Examples(recipe, tokenizer)
    optimizers = _optimizers(model, recipe.lr)
    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, _Schedule(recipe.steps)) for optimizer in optimizers]
    losses: list[float] = []
    model.train()
    with tqdm(total=recipe.steps, desc="warm-up", unit="step", mininterval=1) as progress:
        for _ in range(recipe.steps):
            losses.append(_accumulate_gradients(model, examples.batch(), tokenizer.pad_token_id))
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
            progress.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
            progress.update()
    return model, tokenizer, losses


class _Examples:
    """Endless supply of tokenised solutions: levels with equal chances, then problems of a level likewise."""

    def __init__(self, recipe: WarmupRecipe, tokenizer: Qwen2Tokenizer):
        self._recipe = recipe
        self._task = TASKS[recipe.task]
        self._tokenizer = tokenizer
        self._rng = random.Random(recipe.seed)
        levels: dict[int, list[Problem]] = defaultdict(list)
        for problem in self._task.problems("train", recipe.pool, recipe.seed, recipe.terms):
            levels[problem.terms].append(problem)
        self._levels = list(levels.values())

    def batch(self) -> list[tuple[list[int], list[int]]]:
        """Pairs of prompt and response ids."""
        drawn = [self._rng.choice(self._rng.choice(self._levels)) for _ in range(self._recipe.batch_size)]
        end = self._tokenizer.eos_token_id
        return [
            (prompt_ids(self._tokenizer, problem.question), [*self._tokenizer.encode(self._solution(problem)), end])
            for problem in drawn
        ]

    def _solution(self, problem: Problem) -> str:
        if self._rng.random() < self._recipe.direct_fraction:
            return self._task.direct_solution(problem, self._rng)
        all_steps_right = (1 - self._recipe.slip_rate) ** (problem.terms - 1)
        if self._rng.random() < all_steps_right:
            return self._task.worked_solution(problem, self._rng)
        return self._task.corrupted_solution(problem, self._rng)


class _Schedule:
    """Learning rate factor: linear warm-up, then linear decay to a tenth."""

    def __init__(self, steps: int):
        self._steps = steps
        self._warmup = max(1, round(WARMUP_FRACTION * steps))

    def __call__(self, step: int) -> float:
        return min((step + 1) / self._warmup, 1 - 0.9 * step / self._steps)


def _optimizers(model: Qwen2ForCausalLM, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for embeddings, biases and norms."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [Muon(matrices, lr=lr), torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.95), weight_decay=0.0)]


def _accumulate_gradients(model: Qwen2ForCausalLM, batch: list[tuple[list[int], list[int]]], pad_id: int) -> float:
    """Backward pass of the token-mean loss, in parts of similar length to save padding. Returns the loss."""
    batch = sorted(batch, key=lambda example: sum(map(len, example)))
    response_tokens = sum(len(response) for _, response in batch)
    rows = -(-len(batch) // MICRO_BATCHES)
    total = 0.0
    for start in range(0, len(batch), rows):
        part = batch[start : start + rows]
        width = max(len(prompt) + len(response) for prompt, response in part)
        ids = torch.full((len(part), width), pad_id)
        labels = torch.full((len(part), width), IGNORED_LABEL)
        for row, (prompt, response) in enumerate(part):
            end = len(prompt) + len(response)
            ids[row, :end] = torch.tensor(prompt + response)
            labels[row, len(prompt) : end] = torch.tensor(response)
        # Padding comes last and attention is causal: real tokens never see it, so no attention mask is needed.
        logits = model(ids[:, :-1], use_cache=False).logits
        loss = F.cross_entropy(
            logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED_LABEL, reduction="sum"
        )
        loss = loss / response_tokens
        loss.backward()
        total += loss.item()
    return total
