# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""One lab run: sample, verify, drop prompts that are all right or all wrong, group, update, evaluate.

The objective core, difficulty, verifier, data and advantage are those of the real stack; the rollout and the model's
arithmetic are `FastModel`'s. There is no engine between sampling and training, so the log-probabilities and entropies
of sampling are the old policy's.
"""

import random
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer, Qwen2ForCausalLM
from transformers.utils.logging import disable_progress_bar
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage

from recipe.htpo.evaluation import pass_at_k
from recipe.htpo.inspect.dump import DumpConfig
from recipe.htpo.lab.arithmetic import Problem
from recipe.htpo.lab.fast_model import FastModel, Sample
from recipe.htpo.lab.model import prompt_ids
from recipe.htpo.lab.policy_loss import COUNTS, PolicyLoss
from recipe.htpo.lab.regime import Regime
from recipe.htpo.lab.task import TASKS
from recipe.htpo.lab.tokens import StepTokens
from recipe.htpo.lab.weights import weighed
from recipe.htpo.objective import ObjectiveConfig, difficulty, partition

CONTROLS = ("random_split", "random_reward")
COLLAPSED_BELOW = 0.02
"""A run whose held-out pass@1 is under this ends: nothing is left to learn from."""
EVALUATION_SEED = 777


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """All that decides a run's result, up to rounding."""

    objective: ObjectiveConfig
    regime: Regime
    seed: int
    steps: int
    task: str = "arithmetic"
    eval_every: int = 10
    eval_prompts: int = 256
    eval_samples: int = 8
    final_samples: int | None = None
    """Samples of each problem in the evaluations before the first and after the last step, if not `eval_samples`."""
    control: str | None = None
    """`random_split`: the groups are as large as the objective makes them, their tokens random ones of each response.
    `random_reward`: training takes a response for right by the toss of a coin."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Fields of verl that the preset sets, but the clip, which is the regime's (`policy_loss.settings_of`)."""

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task must be {' or '.join(TASKS)}, got {self.task!r}")
        if self.control not in (None, *CONTROLS):
            raise ValueError(f"control must be {' or '.join(CONTROLS)}, got {self.control!r}")
        for name in ("steps", "eval_every", "eval_prompts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("eval_samples", "final_samples"):
            if (samples := getattr(self, name)) is not None and samples < 8:
                raise ValueError(f"{name} must be at least 8, for pass@8, got {samples}")


class Lab:
    """A model directory with its problems, for one run; `dump` names steps whose tokens go to `run_dir`."""

    def __init__(self, model_dir: Path, plan: RunPlan, dump: DumpConfig | None = None, run_dir: Path | None = None):
        disable_progress_bar()
        self.plan = plan
        self._dump = dump or DumpConfig()
        self._run_dir = run_dir or Path()
        self._tokens: StepTokens | None = None
        self.model = Qwen2ForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
        self._tokenizer = AutoTokenizer.from_pretrained(model_dir)
        self.fast = FastModel(self.model, self._tokenizer.eos_token_id)
        self._task = TASKS[plan.task]
        self._held_out = self._task.problems("test", plan.eval_prompts, 0)
        self._generator = torch.Generator().manual_seed(plan.seed)
        # Of its own, so that a run and its control sample from the same stream.
        self._control = torch.Generator().manual_seed(plan.seed)
        self._train_problems = _endless(self._task.problems("train", self._task.train_problems, 0), plan.seed)
        regime = plan.regime
        self._policy_loss = PolicyLoss(plan.objective, regime, plan.settings)
        self._reference = deepcopy(self.fast) if self._policy_loss.actor.use_kl_loss else None
        self._optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=regime.lr, betas=(0.9, 0.999), weight_decay=regime.weight_decay, fused=True
        )

    def evaluate(self, final: bool = False) -> dict[str, Any]:
        """pass@k of the held-out problems, and how many of so many `samples` of each are right; always the same seed.

        `final` asks for the plan's `final_samples`.
        """
        n = (self.plan.final_samples if final else None) or self.plan.eval_samples
        generator = torch.Generator().manual_seed(EVALUATION_SEED)
        samples = self._sample(self._held_out, n, generator)
        counts = [sum(self._correct(pair)) for pair in zip(self._held_out, samples, strict=True)]
        one, eight = pass_at_k(counts, n, (1, 8)).mean(0).tolist()
        return {"pass@1": one, "pass@8": eight, "samples": n, "counts": counts}

    def step(self, index: int) -> dict[str, Any]:
        """Trains on one batch. Returns its figures; `mixed` is 0, and nothing is trained, without a mixed prompt."""
        started = time.process_time()
        samples, correct, pass_rates = self._mixed_prompts()
        record: dict[str, Any] = {
            "train_pass_rate": sum(pass_rates) / len(pass_rates),
            "generated_prompts": len(pass_rates),
            "mixed": len(samples) // self.plan.regime.responses,
        }
        if samples:
            batch = self._batch(samples, correct)
            if self._reference is not None:
                with torch.no_grad():
                    log_probs, _ = self._reference.log_probs(samples)
                batch = replace(batch, reference=torch.zeros(batch.mask.shape).masked_scatter(batch.mask, log_probs))
            batch, weights = weighed(batch, self.plan.objective.weights, self.fast, self.plan.regime.responses)
            record |= batch.figures() | weights | self._train(batch, index)
        return record | {"cpu_s": round(time.process_time() - started, 2)}

    def _batch(self, samples: list[Sample], correct: list[bool]) -> "_Batch":
        batch = _Batch.make(samples, torch.tensor(correct), self.plan, self._policy_loss.norm_by_std)
        if self.plan.control != "random_split":
            return batch
        return replace(batch, codes=self._codes(batch.entropy, batch.mask, batch.hard, batch.correct))

    def _codes(self, entropy: Tensor, mask: Tensor, hard: Tensor, correct: Tensor) -> Tensor:
        """Groups by entropy, or by chance where that is the control."""
        if self.plan.control == "random_split":
            entropy = torch.rand(mask.shape, generator=self._control)
        return partition(entropy, mask, hard, correct, self.plan.objective).encode()

    def _mixed_prompts(self) -> tuple[list[Sample], list[bool], list[float]]:
        """Dynamic sampling: new prompts until enough have right and wrong responses, or generation was too much.

        Returns the responses of those prompts, prompt by prompt, their correctness, and the pass rates of all prompts.
        """
        regime = self.plan.regime
        kept: list[Sample] = []
        correct: list[bool] = []
        pass_rates: list[float] = []
        wanted = regime.prompts * regime.responses
        while len(kept) < wanted and len(pass_rates) < regime.max_generation_factor * regime.prompts:
            count = max(1, regime.prompts // 2) if pass_rates else regime.prompts
            drawn = [next(self._train_problems) for _ in range(count)]
            for pair in zip(drawn, self._sample(drawn, regime.responses, self._generator), strict=True):
                graded = self._correct(pair)
                pass_rates.append(sum(graded) / len(graded))
                if self.plan.control == "random_reward":
                    graded = (torch.rand(len(graded), generator=self._control) < 0.5).tolist()
                if 0 < sum(graded) < len(graded) and len(kept) < wanted:
                    kept += pair[1]
                    correct += graded
        return kept, correct, pass_rates

    def _train(self, batch: "_Batch", index: int) -> dict[str, float]:
        """The updates of step `index + 1`, whose tokens are written where that is asked for."""
        lr = self.plan.regime.lr_at(index, self.plan.steps)
        if index + 1 not in self._dump.steps:
            return self._update(batch, lr)
        n = self.plan.regime.responses
        self._tokens = StepTokens(
            self._dump, batch.samples, batch.correct, batch.hard, n, self._tokenizer, self._task.source
        )
        figures = self._update(batch, lr)
        self._tokens.write(self._run_dir, index + 1, len(batch.samples), self.plan.objective)
        self._tokens = None
        return figures

    def _update(self, batch: "_Batch", lr: float) -> dict[str, float]:
        regime, n = self.plan.regime, self.plan.regime.responses
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        totals, losses = torch.zeros(len(COUNTS)), []
        prompts = torch.randperm(len(batch.samples) // n, generator=self._generator)
        for chosen in prompts.chunk(regime.updates):
            self._optimizer.zero_grad()
            loss, counts = self.loss(batch, (chosen[:, None] * n + torch.arange(n)).flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), regime.max_grad_norm)
            self._optimizer.step()
            totals += counts
            losses.append(loss.item())
        tokens = int(batch.mask.sum())
        shares = {name: value / tokens for name, value in zip(COUNTS, totals.tolist(), strict=True)}
        return {"loss": sum(losses) / len(losses), **shares}

    def loss(self, batch: "_Batch", rows: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of one update, and the counts of its tokens named in `COUNTS`."""
        mask = batch.mask[rows]
        log_probs, entropy = self.fast.log_probs([batch.samples[row] for row in rows.tolist()])
        codes = batch.codes[rows]
        if self.plan.objective.entropy_source == "current":
            current = torch.zeros(mask.shape).masked_scatter(mask, entropy)
            codes = self._codes(current, mask, batch.hard[rows], batch.correct[rows])
        reference = None if batch.reference is None else batch.reference[rows]
        loss, counts, output = self._policy_loss(
            log_probs, batch.old_log_probs[rows], batch.advantages[rows], mask, codes, reference
        )
        if self._tokens and output:
            old_log_probs, advantages = batch.old_log_probs[rows][mask], batch.advantages[rows][mask]
            split_by = entropy if self.plan.objective.entropy_source == "current" else batch.entropy[rows][mask]
            extra = {"base_advantages": batch.base_advantages, "thr": batch.score}
            chosen = {name: values[rows][mask] for name, values in extra.items() if values is not None}
            self._tokens.add(rows, mask.sum(-1), output, log_probs, old_log_probs, advantages, split_by, **chosen)
        return loss, counts

    def _sample(self, drawn: Sequence[Problem], n: int, generator: torch.Generator) -> list[list[Sample]]:
        prompts = [prompt_ids(self._tokenizer, problem.question) for problem in drawn]
        return self.fast.generate(prompts, n, self._task.max_response_tokens, generator)

    def _correct(self, pair: tuple[Problem, list[Sample]]) -> list[bool]:
        problem, samples = pair
        texts = self._tokenizer.batch_decode([sample.response for sample in samples], skip_special_tokens=True)
        return [self._task.is_correct(problem, text) for text in texts]


@dataclass(frozen=True)
class _Batch:
    """A training batch of `B` responses, prompt by prompt, padded to `T` tokens."""

    samples: list[Sample]
    mask: Tensor
    """`[B, T]` bool."""
    old_log_probs: Tensor
    entropy: Tensor
    advantages: Tensor
    codes: Tensor
    """`[B, T]` int8, `TokenGroups.encode`."""
    hard: Tensor
    """`[B]` bool."""
    correct: Tensor
    """`[B]` bool."""
    base_advantages: Tensor | None = None
    """`[B, T]`, before they were weighed; only where they were."""
    score: Tensor | None = None
    """`[B, T]`, of an advantage transform that has one."""
    reference: Tensor | None = None
    """`[B, T]`, log-probabilities of the model that the run began with, for a KL term."""

    @classmethod
    def make(cls, samples: list[Sample], correct: Tensor, plan: RunPlan, norm_by_std: bool = True) -> "_Batch":
        lengths = torch.tensor([len(sample.response) for sample in samples])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        entropy = pad_sequence([sample.entropy for sample in samples], batch_first=True)
        prompt = torch.arange(len(samples)) // plan.regime.responses
        rewards = torch.zeros(mask.shape).scatter_(1, lengths[:, None] - 1, correct.float()[:, None])
        hard = difficulty(correct, prompt, torch.ones_like(correct), plan.objective.difficulty_threshold).hard
        return cls(
            samples=samples,
            mask=mask,
            old_log_probs=pad_sequence([sample.log_probs for sample in samples], batch_first=True),
            entropy=entropy,
            advantages=compute_grpo_outcome_advantage(
                rewards, mask.float(), np.asarray(prompt), norm_adv_by_std_in_grpo=norm_by_std
            )[0],
            codes=partition(entropy, mask, hard, correct, plan.objective).encode(),
            hard=hard,
            correct=correct,
        )

    def figures(self) -> dict[str, float]:
        tokens = self.mask.sum()
        return {
            "entropy": float(self.entropy.sum() / tokens),
            "hard": float(self.hard.float().mean()),
            "response_tokens": float(tokens / len(self.samples)),
        }


def run(
    model_dir: Path,
    plan: RunPlan,
    start: dict[str, Any],
    dump: DumpConfig | None = None,
    run_dir: Path | None = None,
) -> dict[str, Any]:
    """A whole run from the model in `model_dir`, whose evaluation is `start`: records of its `steps`, and `collapsed`.

    A record's `pass@1` and `pass@8` are those of the evaluation after step `evaluated`. A step without a mixed prompt
    trained on nothing: its `replaced` and `entropy` are those of the step before, None at the first. `collapsed` is
    False, or says why the run ended early.
    """
    lab = Lab(model_dir, plan, dump, run_dir)
    torch.manual_seed(plan.seed)
    lab.model.train()
    steps: list[dict[str, Any]] = []
    latest = {"evaluated": 0, "pass@1": start["pass@1"], "pass@8": start["pass@8"]}
    figures: dict[str, Any] = {"replaced": None, "entropy": None}
    collapsed: str | bool = False
    for step in range(1, plan.steps + 1):
        record = {"step": step, **latest, **figures, **lab.step(step - 1)}
        figures = {key: record[key] for key in figures}
        if record["mixed"]:
            record["treated"] = record["replaced"] + record["detached"]
        else:
            collapsed = f"no prompt with right and wrong responses at step {step}"
        if step % plan.eval_every == 0 or step == plan.steps or collapsed:
            record |= {"evaluated": step, **lab.evaluate(final=bool(collapsed) or step == plan.steps)}
            latest = {key: record[key] for key in latest}
            if not collapsed and record["pass@1"] < COLLAPSED_BELOW:
                collapsed = f"held-out pass@1 {record['pass@1']:.3f} at step {step}"
                if plan.final_samples and step < plan.steps:
                    record |= lab.evaluate(final=True)
        steps.append({key: round(value, 6) if isinstance(value, float) else value for key, value in record.items()})
        if collapsed:
            break
    return {"steps": steps, "collapsed": collapsed}


def _endless(pool: list[Problem], seed: int) -> Iterator[Problem]:
    """The problems in ever new orders."""
    rng = random.Random(seed)
    while True:
        yield from rng.sample(pool, len(pool))
