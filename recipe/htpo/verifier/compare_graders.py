# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Run other graders beside this one on a labelled file.

    python -m recipe.htpo.verifier.compare_graders cases.jsonl --response solution --limit 5

Every grader, this one included, runs in a child process with a limit per case. The table gives, per category, how many
correct answers were refused and wrong ones accepted, the wall-clock latency, and the throughput per CPU second of the
grader's process (prime_math forks more of them), over the cases that ended in time. A ground truth that is a list is
joined to one text.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tqdm import tqdm

from data_prep.errors import DataError
from data_prep.storage.files import atomic_output, refuse_overwriting
from recipe.htpo.verifier.child import ChildGrader
from recipe.htpo.verifier.grade import join_ground_truth
from recipe.htpo.verifier.graders import LOADERS
from recipe.htpo.verifier.rows import InputError, column, label, read_rows

LONGEST_LIMIT_S = 86_400


@dataclass
class Score:
    """What one grader did on one file."""

    false_negatives: Counter[str] = field(default_factory=Counter)
    false_positives: Counter[str] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    over_limit: int = 0
    failed: int = 0
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON; latencies in milliseconds."""
        ordered = sorted(self.latencies_s)
        return {
            "false_negatives": dict(self.false_negatives),
            "false_positives": dict(self.false_positives),
            "over_limit": self.over_limit,
            "failed": self.failed,
            "p50_ms": 1000 * ordered[len(ordered) // 2] if ordered else None,
            "p99_ms": 1000 * ordered[int(0.99 * (len(ordered) - 1))] if ordered else None,
            "max_ms": 1000 * ordered[-1] if ordered else None,
            "per_cpu_second": len(ordered) / self.cpu_s if self.cpu_s else None,
            "problem": self.problem,
        }


def run_grader(name: str, cases: Sequence[tuple[str, str, bool, str]], limit_s: float, quiet: bool) -> Score:
    """Grade all cases ``(response, ground_truth, expected, category)`` with one grader."""
    score = Score()
    child = ChildGrader(name, limit_s)
    score.problem = child.start()
    if not score.problem:
        # The first call pays for lazy imports and caches; it is not measured.
        child.grade(r"\boxed{\frac{1}{2}}", r"\frac{2}{4}")
        for response, truth, expected, category in tqdm(cases, desc=name, unit="case", disable=quiet):
            result = child.grade(response, truth)
            if result.correct is None:
                score.over_limit += result.problem == "over the time limit"
                score.failed += result.problem != "over the time limit"
            else:
                score.latencies_s.append(result.seconds)
                score.cpu_s += result.cpu_seconds
            if expected and not result.correct:
                score.false_negatives[category] += 1
            if result.correct and not expected:
                score.false_positives[category] += 1
    child.close()
    return score


def read_cases(options: argparse.Namespace) -> list[tuple[str, str, bool, str]]:
    """The labelled rows of the file, or a fixed random sample of them; raises ``InputError`` for what is no case."""
    cases = []
    for number, row in enumerate(read_rows(options.file), 1):
        truth = column(row, options.ground_truth, number, "--ground-truth")
        category = str(column(row, options.category, number, "--category"))
        if options.group_prefix:
            category = category.split("_")[0]
        response = column(row, options.response, number, "--response")
        parts = [truth] if isinstance(truth, str) else truth
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            raise InputError(
                f"row {number}: column {options.ground_truth!r} must be text or a list of texts, "
                f"got {str(truth)[:80]!r}. Name another one with --ground-truth"
            )
        if not isinstance(response, str):
            raise InputError(f"row {number}: column {options.response!r} must be text, got {type(response).__name__}")
        expected = label(row, options.expected, number, "--expected")
        cases.append((response, join_ground_truth(truth), expected, category))
    if not cases:
        raise InputError(f"{options.file} holds no rows")
    if options.sample and options.sample < len(cases):
        cases = random.Random(0).sample(cases, options.sample)
    return cases


def print_tables(scores: dict[str, Score], cases: Sequence[tuple[str, str, bool, str]]) -> None:
    """Print errors by category and the latencies."""
    right = Counter(category for _, _, expected, category in cases if expected)
    wrong = Counter(category for _, _, expected, category in cases if not expected)
    console = Console(width=None if sys.stdout.isatty() else 160)
    errors = Table(title="refused of the correct | accepted of the wrong")
    errors.add_column("category", no_wrap=True)
    errors.add_column("right | wrong", justify="right")
    for name in scores:
        errors.add_column(name, justify="right")
    for category in sorted(right | wrong):
        cells = [f"{score.false_negatives[category]} | {score.false_positives[category]}" for score in scores.values()]
        errors.add_row(escape(category), f"{right[category]} | {wrong[category]}", *cells)
    totals = [f"{score.false_negatives.total()} | {score.false_positives.total()}" for score in scores.values()]
    errors.add_section()
    errors.add_row("all", f"{right.total()} | {wrong.total()}", *totals)
    console.print(errors)
    speed = Table(title="latency of the cases that ended in time")
    for heading in ("grader", "p50 ms", "p99 ms", "max ms", "per CPU second", "over the limit", "failed"):
        speed.add_column(heading, justify="left" if heading == "grader" else "right")
    for name, score in scores.items():
        numbers = score.to_dict()
        if score.problem or not score.latencies_s:
            speed.add_row(name, escape(score.problem) or "no case ended in time")
            continue
        cells = [f"{numbers[key]:.2f}" for key in ("p50_ms", "p99_ms", "max_ms")]
        speed.add_row(name, *cells, f"{numbers['per_cpu_second']:,.0f}", str(score.over_limit), str(score.failed))
    console.print(speed)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m recipe.htpo.verifier.compare_graders", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("file", type=Path, metavar="FILE", help="JSON lines or parquet with labels")
    parser.add_argument("--graders", nargs="+", default=list(LOADERS), choices=list(LOADERS), help="default: all")
    parser.add_argument("--limit", type=float, default=5.0, metavar="SECONDS", help="limit per case (default: 5)")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="grade a fixed random sample of N rows")
    for name in ("response", "ground_truth", "expected", "category"):
        parser.add_argument(f"--{name.replace('_', '-')}", default=name, metavar="COLUMN", help=f"default: {name}")
    parser.add_argument("--group-prefix", action="store_true", help="group categories by what precedes the first _")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    options = parser.parse_args(argv)
    if not 0 < options.limit <= LONGEST_LIMIT_S:
        parser.error(f"--limit must be above 0 and at most {LONGEST_LIMIT_S:,}, got {options.limit}")
    if options.sample < 0:
        parser.error(f"--sample must not be negative, got {options.sample}")
    try:
        cases = read_cases(options)
        if options.json is not None:
            if options.json.is_dir():
                raise InputError(f"cannot write {options.json}: it is a directory")
            refuse_overwriting(options.json, [options.file])
        with ExitStack() as files:
            # Opened before the first verdict: a folder that cannot be written is no surprise after an hour of grading.
            output = options.json and files.enter_context(atomic_output(options.json))
            scores = {name: run_grader(name, cases, options.limit, options.quiet) for name in options.graders}
            if output is not None:
                numbers = {name: score.to_dict() for name, score in scores.items()}
                output.write(json.dumps(numbers, indent=2).encode() + b"\n")
    except (InputError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print_tables(scores, cases)
    return 0


if __name__ == "__main__":
    sys.exit(main())
