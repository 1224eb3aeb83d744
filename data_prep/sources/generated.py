# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Sets that are computed: seeded, with disjoint splits."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from data_prep.errors import DataError
from data_prep.sources.dataset import GeneratedSet, GenerateOptions, Parsed


class ArithmeticSet(GeneratedSet):
    """Seeded sums and differences (``recipe/htpo/lab/arithmetic.py``); train and test never share a problem."""

    def generate(self, split: str, options: GenerateOptions) -> Iterator[Parsed]:
        from recipe.htpo.lab import arithmetic

        count, seed = (options.train_rows, options.seed) if split == "train" else (options.test_rows, options.test_seed)
        try:
            problems = arithmetic.problems(cast(arithmetic.Split, split), count, seed, options.terms)
        except ValueError as error:
            raise DataError(f"arithmetic: {error}", remedy=f"change --terms or --{split}-rows") from error
        for problem in problems:
            yield Parsed(problem=problem.question, answer=problem.answer, level=str(problem.terms))

    def code(self) -> Sequence[str]:
        return ("recipe.htpo.lab.arithmetic",)


GYM = "reasoning_gym:"
"""Prefix of the names and the data sources of reasoning-gym's tasks."""
TEST_ONE_IN = 4
DRAWS_PER_ROW = 40
"""So many entries are drawn for each row before a task counts as exhausted."""


@dataclass(frozen=True, kw_only=True)
class ReasoningGymSet(GeneratedSet):
    """One task of the package ``reasoning-gym``: procedural, seeded.

    One question in four belongs to ``test``, by a hash of the question alone, so train and test never share one
    whatever seeds and sizes are. Countdown is hashed by its numbers and target: its phrasings do not part the splits.
    """

    task: str
    """Name of the task."""

    def generate(self, split: str, options: GenerateOptions) -> Iterator[Parsed]:
        count, seed = (options.train_rows, options.seed) if split == "train" else (options.test_rows, options.test_seed)
        # The package makes entry i out of seed + i, so seeds that are close would repeat one another's entries.
        start = int.from_bytes(hashlib.blake2b(f"{split}/{seed}".encode(), digest_size=4).digest(), "big") // 2
        draws = DRAWS_PER_ROW * count
        entries = self._entries({**options.task, "seed": start, "size": draws})
        seen: set[str] = set()
        for number in range(draws):
            if len(seen) == count:
                return
            entry = entries[number]
            question = entry["question"].strip()
            if question not in seen and self._split(entry) == split:
                seen.add(question)
                yield Parsed(
                    problem=question,
                    answer=str(entry["answer"]),
                    extra_info={"task_entry": json.dumps(entry, default=str, ensure_ascii=False)},
                )
        if len(seen) < count:
            raise DataError(
                f"{GYM}{self.task} gave {len(seen):,} distinct questions of {split} in {draws:,} draws",
                remedy=f"ask for fewer rows with --{split}-rows, or for more variety with --task-option",
            )

    def code(self) -> Sequence[str]:
        return ("reasoning_gym",)

    def _entries(self, options: Mapping[str, Any]) -> Any:
        try:
            import reasoning_gym
        except ImportError as error:
            raise DataError(
                f"the package reasoning-gym is missing: {error}", remedy="pip install reasoning-gym==0.1.25"
            ) from error
        try:
            return reasoning_gym.create_dataset(self.task, **options)
        except (ValueError, TypeError, AssertionError, KeyError) as error:
            known = [name for name in _option_names(self.task) if name not in ("seed", "size")]
            remedy = f"its options (--task-option NAME=VALUE): {', '.join(known)}" if known else _known_tasks()
            raise DataError(f"{GYM}{self.task}: {error}", remedy=remedy) from error

    def _split(self, entry: Mapping[str, Any]) -> str:
        metadata = entry["metadata"]
        key = entry["question"]
        if self.task == "countdown":
            key = f"{sorted(metadata['numbers'])} {metadata['target']}"
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        return "test" if int.from_bytes(digest, "big") % TEST_ONE_IN == 0 else "train"


def gym_set(name: str) -> ReasoningGymSet:
    """The set of a name ``reasoning_gym:TASK``; the package is asked only when the set is built."""
    task = name.removeprefix(GYM)
    return ReasoningGymSet(
        name=f"reasoning_gym_{task}",
        title=f"Task {task} of reasoning-gym",
        licence="apache-2.0",
        splits={"train": "train", "test": "test"},
        template="answer-tags",
        data_source=GYM + task,
        ability="reasoning",
        task=task,
    )


def _option_names(task: str) -> list[str]:
    from reasoning_gym.factory import DATASETS

    return list(DATASETS[task][1].__dataclass_fields__) if task in DATASETS else []


def _known_tasks() -> str:
    from reasoning_gym.factory import DATASETS

    return f"choose one of {', '.join(sorted(DATASETS))}"
