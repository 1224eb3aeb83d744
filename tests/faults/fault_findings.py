# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What a fault must not have done: every step recorded once, the data in order, nothing left behind."""

import json
from collections import Counter
from collections.abc import Iterator

import private_mounts
import torch
from data_order import data_order
from faulty_run import FaultyRun, name_of

from recipe.htpo.config import compose
from recipe.htpo.run.checkpoints import TRACKER, what_is_lacking


class Traces:
    """What there is outside the run's directory before it starts; what it left, afterwards."""

    def __init__(self) -> None:
        self._before = self._files()

    @staticmethod
    def _files() -> set[str]:
        return private_mounts.files(private_mounts.SHARED_MEMORY) | private_mounts.files(private_mounts.TEMPORARY)

    def left(self) -> Iterator[str]:
        """Processes, shared memory and temporary files of a run that has ended."""
        for process in private_mounts.inhabitants():
            yield f"left running: {name_of(process)}"
        yield from self.files_left()

    def files_left(self) -> list[str]:
        """Shared memory and temporary files."""
        return [f"left: {path}" for path in sorted(self._files() - self._before)]


def of_resume(run: FaultyRun, whole: list[int]) -> Iterator[str]:
    """A start resumes from the newest whole checkpoint that it found."""
    resumed = run.resumed_from()
    if resumed is not None and resumed != max(whole, default=0):
        yield f"resumed from {resumed}, the whole checkpoints were {whole}"


def of_end(run: FaultyRun) -> Iterator[str]:
    """Everything that is not as it would be in a run to which nothing happened."""
    yield from _records(run)
    yield from _order(run)
    last = run.output_dir / "checkpoints" / f"global_step_{run.steps}"
    yield from what_is_lacking(last, compose(run.overrides))
    tracker = run.output_dir / "checkpoints" / TRACKER
    if tracker.read_text() != str(run.steps):
        yield f"the tracker names {tracker.read_text()!r}, not the last step"
    yield from _weights(run)
    for path in sorted(run.output_dir.rglob("*.tmp")):
        yield f"left: {path.relative_to(run.output_dir)}"


def _records(run: FaultyRun) -> Iterator[str]:
    """Every step is saved, then recorded: each has one line in the files of all starts."""
    seen: Counter[int] = Counter()
    rates = {}
    for file in sorted((run.output_dir / "metrics").glob("*.jsonl")):
        for line in file.read_text(errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                # A line that a killed process did not finish.
                continue
            seen[entry["step"]] += 1
            rates[entry["step"]] = entry["data"].get("actor/lr")
    missing = sorted(set(range(1, run.steps + 1)) - seen.keys())
    twice = sorted(step for step, lines in seen.items() if lines > 1)
    if missing:
        yield f"steps without a record: {missing}"
    if twice:
        yield f"steps recorded more than once: {twice}"
    constant = {step: rate for step, rate in rates.items() if step > 2}
    if len(set(constant.values())) != len(constant):
        yield f"the learning rate does not fall from step to step: {constant}"


def _order(run: FaultyRun) -> Iterator[str]:
    """The prompts of every step are those that the data's order gives it, counted from the first start."""
    expected = list(data_order(run.overrides, run.steps))
    for step in range(1, run.steps + 1):
        file = run.output_dir / "rollouts" / f"{step}.jsonl"
        try:
            # A rollout that failed left a padding row, without a prompt.
            prompts = {json.loads(line)["input"] for line in file.read_text(errors="replace").splitlines()} - {""}
        except (OSError, json.JSONDecodeError):
            # Written after the step was saved; such a step is not trained again.
            if step not in run.resumed:
                yield f"step {step} has no whole file of rollouts"
            continue
        if prompts != expected[step - 1]:
            yield f"step {step} has other prompts than the data's order gives it"


def _weights(run: FaultyRun) -> Iterator[str]:
    """Under FSDP2: finite weights, and an optimiser that has made every update once."""
    actor = run.output_dir / "checkpoints" / f"global_step_{run.steps}" / "actor"
    if run.backend != "fsdp":
        return
    optimiser = torch.load(actor / "optim_world_size_1_rank_0.pt", weights_only=False)
    updates = {int(state["step"]) for state in optimiser["state"].values()}
    if updates != {run.updates}:
        yield f"the optimiser made {updates} updates, not {run.updates}"
    model = torch.load(actor / "model_world_size_1_rank_0.pt", weights_only=False)
    for name, weight in model.items():
        if not torch.isfinite(getattr(weight, "_local_tensor", weight)).all():
            yield f"{name} is not finite"
