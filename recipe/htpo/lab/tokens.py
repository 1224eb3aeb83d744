# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The token dump of a lab run: what the loss makes of the tokens of one step's chosen responses."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from recipe.htpo.inspect.dump import DumpConfig, Response, measured, write_step
from recipe.htpo.lab.fast_model import Sample
from recipe.htpo.objective import ObjectiveConfig, TokenLossOutput


class StepTokens:
    """Collects the tokens of one batch of `B` responses, prompt by prompt, update by update."""

    def __init__(
        self,
        config: DumpConfig,
        samples: Sequence[Sample],
        correct: Tensor,
        hard: Tensor,
        n: int,
        tokenizer: PreTrainedTokenizerBase,
        source: str,
    ) -> None:
        pass_rate = correct.double().view(-1, n).mean(-1)
        prompts = config.choose(pass_rate, torch.ones_like(pass_rate, dtype=torch.bool))
        self._tokenizer = tokenizer
        self._responses = {
            row: Response(
                response=row,
                uid=str(prompt),
                prompt=str(tokenizer.decode(samples[row].prompt, skip_special_tokens=True)),
                source=source,
                correct=bool(correct[row]),
                hard=bool(hard[row]),
                pass_rate=float(pass_rate[prompt]),
                token_ids=samples[row].response,
            )
            for prompt in prompts
            for row in range(prompt * n, prompt * n + n)
        }
        self._columns: dict[int, dict[str, NDArray[Any]]] = {}

    def add(
        self,
        rows: Tensor,
        lengths: Tensor,
        output: TokenLossOutput,
        log_prob: Tensor,
        old_log_prob: Tensor,
        advantages: Tensor,
        entropy: Tensor,
        **optional: Tensor,
    ) -> None:
        """Take the packed tokens `[T_total]` of an update's rows `[R]`, whose lengths are `[R]`."""
        columns = measured(output, log_prob, old_log_prob, advantages, entropy, **optional)
        ends = np.cumsum(lengths.numpy())[:-1]
        split = {name: np.split(values, ends) for name, values in columns.items()}
        for place, row in enumerate(rows.tolist()):
            if row in self._responses:
                self._columns[row] = {name: values[place] for name, values in split.items()}

    def write(self, run_dir: Path, step: int, responses: int, objective: ObjectiveConfig) -> Path:
        """Write the file of the step, which had so many responses."""
        rows = sorted(self._columns)
        return write_step(
            run_dir,
            step,
            [self._responses[row] for row in rows],
            [self._columns[row] for row in rows],
            self._tokenizer,
            {"responses": responses, "objective": objective.to_mapping()},
        )
