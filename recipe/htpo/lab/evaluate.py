# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Samples a model on a task's problems and reports what reinforcement learning has to work with.

python -m recipe.htpo.lab.evaluate MODEL_DIR --split test --n 8
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from recipe.htpo.evaluation import pass_at_k, powers_of_two
from recipe.htpo.lab.arithmetic import Problem
from recipe.htpo.lab.model import prompt_ids
from recipe.htpo.lab.task import TASKS, Task

EASY_PASS_RATE = 0.6
TABLE_CAPTION = (
    "mixed: prompts with right and wrong samples; easy: at least 60 % right; "
    "entropy: of the first token, nats; tokens: mean per sample"
)


@dataclass(frozen=True)
class LevelResult:
    """Figures over the problems of one number of terms, or over all. Rates are fractions.

    ``pass_at`` maps k to the unbiased pass@k; a prompt is ``mixed`` when some but not all of its samples are right, and
    ``easy`` when at least 60 % of them are; ``first_token_entropy`` is in nats, at temperature 1.
    """

    prompts: int
    samples_per_prompt: int
    pass_at: dict[int, float]
    greedy: float
    mixed_prompts: int
    easy_prompts: int
    first_token_entropy: float
    mean_response_tokens: float


@dataclass(frozen=True)
class _Answers:
    """What one problem got: sampled and greedy correctness, tokens of the samples, entropy of the first token."""

    correct: list[bool]
    greedy: bool
    tokens: list[int]
    first_token_entropy: float


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sample: Sequence[Problem],
    n: int,
    seed: int = 0,
    task: Task = TASKS["arithmetic"],
) -> dict[int | str, LevelResult]:
    """Draws ``n`` responses per problem at temperature 1, and one greedily; the same seed gives the same samples.

    Returns one result per number of terms and one for all of them, under the key ``"all"``.
    """
    model.eval()
    ordered = sorted(sample, key=lambda problem: problem.terms)
    answers: dict[int | str, list[_Answers]] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for terms, level in groupby(ordered, key=lambda problem: problem.terms):
            answers[terms] = _answer(model, tokenizer, list(level), n, task)
    answers["all"] = [answer for level_answers in answers.values() for answer in level_answers]
    return {level: _summarise(level_answers, n) for level, level_answers in answers.items()}


@torch.no_grad()
def _answer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, level: list[Problem], n: int, task: Task
) -> list[_Answers]:
    """Problems of one level: their prompts are of one length, so that no padding is needed."""
    prompts = torch.tensor([prompt_ids(tokenizer, problem.question) for problem in level])
    log_probs = model(prompts, logits_to_keep=1).logits[:, -1].log_softmax(-1)
    entropies = -(log_probs.exp() * log_probs).sum(-1)
    length = task.max_response_tokens
    chance = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    sampled = _generate(model, prompts, length, num_return_sequences=n, **chance)
    greedy = _generate(model, prompts, length, do_sample=False, temperature=None, top_k=None, top_p=None)
    texts = tokenizer.batch_decode(sampled, skip_special_tokens=True)
    greedy_texts = tokenizer.batch_decode(greedy, skip_special_tokens=True)
    tokens = (sampled != tokenizer.pad_token_id).sum(-1).tolist()
    return [
        _Answers(
            correct=[task.is_correct(problem, text) for text in texts[i * n : (i + 1) * n]],
            greedy=task.is_correct(problem, greedy_texts[i]),
            tokens=tokens[i * n : (i + 1) * n],
            first_token_entropy=entropies[i].item(),
        )
        for i, problem in enumerate(level)
    ]


def _generate(model: PreTrainedModel, prompts: torch.Tensor, length: int, **how: Any) -> torch.Tensor:
    """Responses only: ``[B, P]`` prompt ids in, ``[B, T]`` out, padded on the right."""
    mask = torch.ones_like(prompts)
    ids = model.generate(prompts, attention_mask=mask, max_new_tokens=length, **how)  # type: ignore[operator]
    return ids[:, prompts.size(1) :]


def _summarise(answers: list[_Answers], n: int) -> LevelResult:
    counts = [sum(answer.correct) for answer in answers]
    ks = powers_of_two(n)
    size = len(answers)
    return LevelResult(
        prompts=size,
        samples_per_prompt=n,
        pass_at=dict(zip(ks, pass_at_k(counts, n, ks).mean(0).tolist(), strict=True)),
        greedy=sum(answer.greedy for answer in answers) / size,
        mixed_prompts=sum(0 < count < n for count in counts),
        easy_prompts=sum(count >= EASY_PASS_RATE * n for count in counts),
        first_token_entropy=sum(answer.first_token_entropy for answer in answers) / size,
        mean_response_tokens=sum(sum(answer.tokens) for answer in answers) / (size * n),
    )


def results_table(results: dict[int | str, LevelResult], title: str) -> Table:
    """One line per number of terms, the line over all last."""
    ks = list(results["all"].pass_at)
    table = Table(title=title, box=box.SIMPLE, pad_edge=False, collapse_padding=True, caption=TABLE_CAPTION)
    for column in ("terms", "prompts", *(f"pass@{k}" for k in ks), "greedy", "mixed", "easy", "entropy", "tokens"):
        table.add_column(column, justify="right", no_wrap=True)
    for level, result in results.items():
        table.add_row(
            str(level),
            str(result.prompts),
            *(f"{result.pass_at[k]:.3f}" for k in ks),
            f"{result.greedy:.3f}",
            str(result.mixed_prompts),
            str(result.easy_prompts),
            f"{result.first_token_entropy:.3f}",
            f"{result.mean_response_tokens:.1f}",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description="Sample a model on a task's problems and report its accuracy.")
    parser.add_argument("model_dir", type=Path, help="directory of a Hugging Face model and its tokenizer")
    parser.add_argument("--task", choices=tuple(TASKS), default="arithmetic")
    parser.add_argument("--split", choices=["train", "test"], default="test")
    parser.add_argument("--prompts", type=int, default=256, help="number of problems")
    parser.add_argument("--n", type=int, default=8, help="samples per problem")
    parser.add_argument("--seed", type=int, default=0, help="of the problems and of the samples")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    args = parser.parse_args()
    for name in ("prompts", "n", "threads"):
        if getattr(args, name) < 1:
            parser.error(f"argument --{name}: must be at least 1, got {getattr(args, name)}")
    if not (args.model_dir / "config.json").is_file():
        parser.error(f"{args.model_dir} is no directory of a model: it has no config.json")
    task = TASKS[args.task]
    try:
        held_out = task.problems(args.split, args.prompts, args.seed)
    except ValueError as error:
        parser.error(f"argument --prompts: {error}")
    torch.set_num_threads(args.threads)
    model = AutoModelForCausalLM.from_pretrained(args.model_dir, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(args.model_dir)
    results = evaluate(model, tokenizer, held_out, args.n, args.seed, task)
    title = f"{args.model_dir}, {task.name}, {args.split} problems, {args.n} samples per prompt"
    Console().print(results_table(results, title))


if __name__ == "__main__":
    main()
