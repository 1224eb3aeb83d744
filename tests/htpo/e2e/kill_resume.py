# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Kill a training run again and again, start the same command each time, and look at what came of it.

    python tests/htpo/e2e/kill_resume.py --out DIR --kills 5 --steps 24 \\
        data.train_files=... data.val_files=... actor_rollout_ref.model.path=...

Kills fall at random moments of a step, of a save and of the start-up. `test_cpu_run.py` runs a short form of it.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from data_order import data_order
from training_process import MAIN, TrainingProcess

from recipe.htpo.config import compose
from recipe.htpo.run.checkpoints import TRACKER, what_is_lacking
from recipe.htpo.run.metrics_log import read_steps

START_TIMEOUT_S = 900.0
# Five batches of eight prompts an epoch: a run of some steps goes through several epochs.
PROMPTS = 40
UPDATES_PER_STEP = 2


@dataclass
class Kill:
    """One kill: its kind, what stood on disk just after it, and what the next start made of that."""

    kind: str
    recorded: int
    tracker: str
    whole: list[int]
    broken: list[str]
    resumed_from: int | None = None
    """The step that the next start resumed from, 0 for a new run; None when it was killed before."""


@dataclass
class Story:
    """A run with its kills."""

    output_dir: Path
    inputs: Sequence[str]
    steps: int
    command: Sequence[str] = MAIN
    environment: Mapping[str, str] = field(default_factory=dict)
    further: Sequence[str] = ("trainer.val_before_train=False",)
    """Overrides beside those that this module needs."""
    kills: list[Kill] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)

    @property
    def overrides(self) -> list[str]:
        """The same for every start."""
        return [
            *self.inputs,
            f"htpo.output_dir={self.output_dir}",
            f"trainer.total_training_steps={self.steps}",
            f"trainer.rollout_data_dir={self.output_dir}/rollouts",
            "trainer.save_freq=2",
            f"data.train_max_samples={PROMPTS}",
            # Every prompt is trained on, in the order of the data.
            "algorithm.filter_groups.enable=False",
            *self.further,
        ]

    @property
    def starts(self) -> Path:
        return self.output_dir.with_name(f"{self.output_dir.name}_starts")

    @property
    def checkpoints(self) -> Path:
        return self.output_dir / "checkpoints"

    def start(self) -> TrainingProcess:
        """The same command as every time."""
        number = len(self.kills)
        return TrainingProcess(
            self.starts / f"start_{number}.log",
            self.output_dir.parent,
            *self.overrides,
            command=self.command,
            **self.environment,
        )

    def log(self, number: int) -> str:
        """What a start printed; the script's starts have one log for all, of which the last mention counts."""
        common = self.output_dir / "log.txt"
        file = common if common.exists() else self.starts / f"start_{number}.log"
        return file.read_text(encoding="utf-8", errors="replace")

    def saved_steps(self) -> list[int]:
        return sorted(int(path.name.rpartition("_")[2]) for path in self.checkpoints.glob("global_step_*"))


def run(story: Story, kinds: Sequence[str], seed: int) -> None:
    """Start, kill at a moment of each of `kinds` (`start`, `step`, `save`), and let the last start come to its end."""
    chance = random.Random(seed)
    for kind in kinds:
        process = story.start()
        _wait_for_the_moment(story, process, kind, chance)
        process.kill()
        story.kills.append(_look(story, kind))
        print(f"killed: {story.kills[-1]}", flush=True)
    process = story.start()
    story.codes.append(process.wait(START_TIMEOUT_S))
    for number, kill in enumerate(story.kills, start=1):
        kill.resumed_from = _resumed_from(story.log(number))


def _wait_for_the_moment(story: Story, process: TrainingProcess, kind: str, chance: random.Random) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    files_before, saved_before = set(_recorded(story)), story.saved_steps()
    if kind == "start":
        happened, delay = lambda: "TaskRunnerV1" in process.output, chance.uniform(0, 40)
    elif kind == "step":
        happened, delay = lambda: set(_recorded(story)) > files_before, chance.uniform(0, 4)
    else:
        # The workers' files are written within some ten milliseconds.
        happened, delay = lambda: story.saved_steps() != saved_before, chance.uniform(0, 0.03)
    look_again = 0.0
    while not happened():
        if time.monotonic() > look_again:
            process.look_around()
            look_again = time.monotonic() + 5.0
        if process.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the run did not come to a {kind}; the end of its log:\n{process.output[-4000:]}")
        time.sleep(0.005 if kind == "save" else 0.1)
    time.sleep(delay)


def _recorded(story: Story) -> list[str]:
    """The metrics files that have a line: a start has a file of its own."""
    return [file.name for file in (story.output_dir / "metrics").glob("*.jsonl") if b"\n" in file.read_bytes()]


def _look(story: Story, kind: str) -> Kill:
    config = compose(["platform=cpu", *story.overrides])
    tracker = story.checkpoints / TRACKER
    lacking = {
        step: next(what_is_lacking(story.checkpoints / f"global_step_{step}", config), None)
        for step in story.saved_steps()
    }
    return Kill(
        kind=kind,
        recorded=max(read_steps(story.output_dir), default=0),
        tracker=tracker.read_text() if tracker.exists() else "(no file)",
        whole=[step for step, reason in lacking.items() if reason is None],
        broken=[reason for reason in lacking.values() if reason is not None],
    )


def _resumed_from(log: str) -> int | None:
    marker = "setting global step to "
    if marker in log:
        return int(log.rpartition(marker)[2].split()[0])
    return 0 if "Training Progress:" in log else None


def findings(story: Story) -> Iterator[str]:
    """Everything that is not as it would be in a run that nobody killed."""
    if story.codes != [0]:
        yield f"exit code {story.codes} of the last start"
    for kill in story.kills:
        if kill.resumed_from is not None and kill.resumed_from != max(kill.whole, default=0):
            yield f"resumed from {kill.resumed_from}: {kill}"
        if kill.tracker.isdigit() and int(kill.tracker) not in kill.whole:
            yield f"the tracker names a checkpoint that is not whole: {kill}"
    yield from _steps_findings(story)
    yield from _order_findings(story)
    yield from _state_findings(story)


def _steps_findings(story: Story) -> Iterator[str]:
    steps = read_steps(story.output_dir)
    missing = set(range(1, story.steps + 1)) - steps.keys()
    if missing:
        yield f"steps without a record: {sorted(missing)}"
    rates: dict[int, set[float]] = {}
    for file in sorted((story.output_dir / "metrics").glob("*.jsonl")):
        previous = None
        for line in file.read_text().splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            if previous is not None and entry["step"] != previous + 1:
                yield f"{file.name}: step {entry['step']} after {previous}"
            previous = entry["step"]
            if "actor/lr" not in entry["data"]:
                continue  # A validation before the first step of a start.
            rates.setdefault(previous, set()).add(entry["data"]["actor/lr"])
            difference = entry["data"]["training/rollout_probs_diff_max"]
            if not difference < 1e-4:
                yield f"step {previous}: rollout and trainer differ by {difference}"
    for step, found in rates.items():
        if len(found) != 1:
            yield f"step {step} was trained with different learning rates: {found}"


def _order_findings(story: Story) -> Iterator[str]:
    """The prompts of every step are those that the data's order gives it, counted from the first start."""
    expected = list(data_order(story.overrides, story.steps))
    # Such a step is not trained again; its rollouts are written after it was saved, and may be lost.
    saved_last = {kill.resumed_from for kill in story.kills if kill.resumed_from}
    for step in sorted(set(range(1, story.steps + 1)) - saved_last):
        file = story.output_dir / "rollouts" / f"{step}.jsonl"
        if not file.exists():
            yield f"step {step} has no rollouts"
            continue
        prompts = Counter(json.loads(line)["input"] for line in file.read_text().splitlines())
        if prompts.keys() != expected[step - 1]:
            yield f"step {step} has other prompts than the data's order gives it"


def _state_findings(story: Story) -> Iterator[str]:
    """The last checkpoint is whole, and its optimiser has made every update once."""
    (last,) = [story.checkpoints / f"global_step_{story.steps}"]
    config = compose(["platform=cpu", *story.overrides])
    yield from what_is_lacking(last, config)
    if (story.checkpoints / TRACKER).read_text() != str(story.steps):
        yield "the tracker does not name the last step"
    optimiser = torch.load(last / "actor" / "optim_world_size_1_rank_0.pt", weights_only=False)
    updates = {int(state["step"]) for state in optimiser["state"].values()}
    if updates != {UPDATES_PER_STEP * story.steps}:
        yield f"the optimiser made {updates} updates in {story.steps} steps"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="directory of the run; must not exist")
    parser.add_argument("--kills", type=int, default=5, help="how often to kill")
    parser.add_argument("--steps", type=int, default=24, help="training steps of the whole run")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("inputs", nargs="+", help="overrides that name data and model")
    args = parser.parse_args()
    args.out.mkdir(parents=True)
    story = Story(args.out.resolve(), args.inputs, args.steps)
    kinds = [("step", "save", "start", "save", "step")[number % 5] for number in range(args.kills)]
    run(story, kinds, args.seed)
    found = list(findings(story))
    for kill in story.kills:
        print(kill)
    print("\n".join(found) or f"{args.steps} steps, {args.kills} kills, nothing lost, nothing twice, order right")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
