# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The token dump of a verl run.

The trainer chooses responses and marks their rows in the batch. The loss is the only place that knows the current
log-probability and what the objective made of a token, so the worker writes those of marked rows, a small file per
micro-batch that has any. After the update the trainer joins them with its facts into the step's file. Workers on other
nodes must see `htpo.output_dir`.
"""

import contextlib
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from recipe.htpo.inspect.dump import TOKENS_DIR, DumpConfig, Response, measured, write_parquet, write_step
from recipe.htpo.objective import ObjectiveConfig, TokenLossOutput, difficulty
from recipe.htpo.seams.influence import SCORE_FIELD
from recipe.htpo.seams.responses import ResponseFacts

# Dense int64 field `[B]` of a batch: step * ROWS + row of a response that is written, -1 of others.
DUMP_FIELD = "htpo_dump"
ROWS = 1_000_000

# Jagged field of the advantages before `objective.weights`, in a step that is written.
BASE_FIELD = "htpo_base_advantages"

_OPTIONAL_FIELDS = {"base_advantages": BASE_FIELD, "thr": SCORE_FIELD}
_PARTS = "parts"
_part_number = itertools.count()


@dataclass(frozen=True)
class PartWriter:
    """In a worker: writes the marked rows of one micro-batch."""

    run_dir: Path
    data: TensorDict
    """The micro-batch, with `DUMP_FIELD`."""
    entropy: Tensor | None
    """`[B, T]` of the current policy, where it splits the tokens; the old policy's is in the batch."""

    @torch.no_grad()
    def write(self, output: TokenLossOutput, log_prob: Tensor, old_log_prob: Tensor, advantages: Tensor) -> None:
        """Write what `token_loss` made of `[B, T]` tokens."""
        marks = self.data[DUMP_FIELD]
        rows = (marks >= 0).nonzero()[:, 0]
        if not len(rows):
            return
        lengths = self.data["response_mask"].offsets().diff()[rows]
        width = log_prob.shape[1]
        inside = torch.arange(width, device=log_prob.device) < lengths[:, None]

        def packed(values: Tensor) -> Tensor:
            return values[rows][inside]

        entropy = self.entropy
        if entropy is None and "entropy" in self.data:
            entropy = self._padded("entropy", width)
        optional = {name: field for name, field in _OPTIONAL_FIELDS.items() if field in self.data}
        columns = measured(
            TokenLossOutput(
                loss=packed(output.loss),
                log_ratio=packed(output.log_ratio),
                ratio=packed(output.ratio),
                state=packed(output.state),
            ),
            packed(log_prob),
            packed(old_log_prob),
            packed(advantages),
            None if entropy is None else packed(entropy),
            **{name: packed(self._padded(field, width)) for name, field in optional.items()},
        )
        offsets = pa.array(np.concatenate([[0], lengths.cumsum(0).cpu().numpy()]).astype(np.int32))
        table = pa.table(
            {"mark": pa.array(marks[rows].cpu().numpy())}
            | {name: pa.ListArray.from_arrays(offsets, pa.array(values)) for name, values in columns.items()}
        )
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        # Processes that share a row's tensors write it each; the rank tells them apart.
        name = f"{rank:06d}_{os.getpid()}_{next(_part_number):09d}.parquet"
        write_parquet(table, self.run_dir / TOKENS_DIR / _PARTS / name)

    def _padded(self, field: str, width: int) -> Tensor:
        return self.data[field].to_padded_tensor(0)[:, :width]


class TokenDump:
    """In the trainer: chooses the responses of a step, and writes the step's file after the update."""

    def __init__(
        self,
        config: DumpConfig,
        objective: ObjectiveConfig,
        run_dir: str | Path,
        tokenizer: PreTrainedTokenizerBase,
        batches_per_step: int = 1,
    ) -> None:
        self.config = config
        self.objective = objective
        self.run_dir = Path(run_dir).resolve()
        self.tokenizer = tokenizer
        self.batches_per_step = batches_per_step
        self._pass_rate = torch.empty(0)
        self._marked_step = 0
        self._chosen: dict[int, Response] = {}
        self._facts: dict[str, Any] = {}

    def choose(self, step: int, facts: ResponseFacts) -> list[int]:
        """Rows of the batch to write; none if the step is not asked for. Of several batches of a step, the first."""
        if step not in self.config.steps or step == self._marked_step:
            return []
        verdict = difficulty(facts.correct, facts.prompt_index, facts.counted, self.objective.difficulty_threshold)
        prompts = set(self.config.choose(verdict.pass_rate, verdict.num_responses > 0))
        self._pass_rate = verdict.pass_rate
        return [
            row
            for row, (prompt, padding) in enumerate(
                zip(facts.prompt_index.tolist(), facts.padding.tolist(), strict=True)
            )
            if prompt in prompts and not padding
        ]

    def mark(self, step: int, rows: Sequence[int], facts: ResponseFacts, hard: Tensor, texts: TensorDict) -> Tensor:
        """The field `DUMP_FIELD` of the batch. Remembers the facts of the chosen rows.

        Args:
            rows: what `choose` gave.
            hard: `[B]` bool.
            texts: of these rows, `uid`, `data_source`, and jagged `prompts` and `responses` token ids.
        """
        self._chosen = {
            row: Response(
                response=row,
                uid=str(uid),
                prompt=str(self.tokenizer.decode(prompt, skip_special_tokens=True)),
                source=str(source),
                correct=bool(facts.correct[row]),
                hard=bool(hard[row]),
                pass_rate=float(self._pass_rate[facts.prompt_index[row]]),
                token_ids=response.tolist(),
            )
            for row, uid, prompt, response, source in zip(
                rows,
                texts["uid"],
                texts["prompts"].unbind(),
                texts["responses"].unbind(),
                texts["data_source"],
                strict=True,
            )
        }
        self._marked_step = step
        self._facts = {
            "responses": int((~facts.padding).sum()) * self.batches_per_step,
            "objective": self.objective.to_mapping(),
        }
        self._remove_parts()
        field = torch.full((len(facts.padding),), -1, dtype=torch.int64)
        field[list(rows)] = step * ROWS + torch.tensor(rows)
        return field

    def collect(self, step: int) -> Path | None:
        """Write the file of a step whose rows were marked; None, with a printed reason, where workers wrote nothing."""
        if not self._chosen:
            return None
        chosen, self._chosen = self._chosen, {}
        found = self._read_parts(step)
        rows = [row for row in sorted(found) if row in chosen]
        if missing := len(chosen) - len(rows):
            print(
                f"htpo.dump_tokens: {missing} of {len(chosen)} responses of step {step} were not written where "
                f"{self.run_dir} is seen from here: put htpo.output_dir on a file system that all nodes share",
                flush=True,
            )
        if not rows:
            return None
        pairs = [(chosen[row], columns) for row in rows for columns in found[row]]
        path = write_step(
            self.run_dir, step, [pair[0] for pair in pairs], [pair[1] for pair in pairs], self.tokenizer, self._facts
        )
        self._remove_parts()
        return path

    def _read_parts(self, step: int) -> dict[int, list[dict[str, NDArray[Any]]]]:
        """Row -> its columns, once for each epoch, as the first process that had it wrote them."""
        by_process: dict[int, dict[str, list[dict[str, NDArray[Any]]]]] = {}
        for path in sorted((self.run_dir / TOKENS_DIR / _PARTS).glob("*.parquet")):
            table = pq.read_table(path)
            for line in range(len(table)):
                mark = table["mark"][line].as_py()
                if mark // ROWS == step:
                    columns = {
                        name: table[name][line].values.to_numpy(zero_copy_only=False)
                        for name in table.column_names
                        if name != "mark"
                    }
                    process = path.name.rsplit("_", 1)[0]
                    by_process.setdefault(mark % ROWS, {}).setdefault(process, []).append(columns)
        return {row: processes[min(processes)] for row, processes in by_process.items()}

    def _remove_parts(self) -> None:
        for path in (self.run_dir / TOKENS_DIR / _PARTS).glob("*"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            (self.run_dir / TOKENS_DIR / _PARTS).rmdir()
