# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Grade a file of responses.

    python -m recipe.htpo.verify responses.jsonl
    python -m recipe.htpo.verify cases.jsonl --response solution --expected expected --category category

FILE is JSON lines or parquet. Ground truths may be strings, lists of strings or verl's ``reward_model`` struct.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from recipe.htpo.reward import problem_text
from recipe.htpo.verifier import REASONS, Verdict, VerifierConfig, ground_truth_problem, verify
from recipe.htpo.verifier.rows import InputError, column, read_rows


@dataclass
class Counts:
    """Verdicts of one group of rows."""

    rows: int = 0
    correct: int = 0
    false_negatives: int = 0
    false_positives: int = 0
    expected: Counter[bool] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, verdict: Verdict, expected: bool | None) -> None:
        """Count one row; ``expected`` is its label, if it has one."""
        self.rows += 1
        self.correct += verdict.correct
        self.reasons[verdict.reason] += 1
        if expected is not None:
            self.expected[expected] += 1
            self.false_negatives += expected and not verdict.correct
            self.false_positives += verdict.correct and not expected

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        result: dict[str, Any] = {
            "rows": self.rows,
            "correct": self.correct,
            "accuracy": self.correct / self.rows,
            "reasons": {reason: self.reasons[reason] for reason in REASONS},
        }
        if self.expected:
            result |= {
                "expected_correct": self.expected[True],
                "expected_wrong": self.expected[False],
                "false_negatives": self.false_negatives,
                "false_positives": self.false_positives,
            }
        return result


def grade_rows(
    rows: Sequence[dict[str, Any]], options: argparse.Namespace, config: VerifierConfig
) -> Iterator[tuple[dict[str, Any], Verdict, bool | None, str]]:
    """Grade every row; yields the row, its verdict, its label and its group."""
    for number, row in enumerate(tqdm(rows, unit="response", disable=options.quiet), 1):
        response = column(row, options.response, number, "--response")
        truth = column(row, options.ground_truth, number, "--ground-truth")
        if not isinstance(response, str):
            raise InputError(f"row {number}: column {options.response!r} must be text, got {type(response).__name__}")
        expected = None
        if options.expected is not None:
            expected = bool(column(row, options.expected, number, "--expected"))
        if options.category is not None:
            group = str(column(row, options.category, number, "--category"))
        else:
            group = str(row.get(options.data_source, "-"))
        problem = problem_of(row) if options.problem is None else str(column(row, options.problem, number, "--problem"))
        yield row, verify(response, truth, config, problem), expected, group


def problem_of(row: dict[str, Any]) -> str:
    """The problem of a row, from the columns that the reward looks at too; empty where there is none."""
    return problem_text(row) or problem_text(row["extra_info"] if isinstance(row.get("extra_info"), dict) else None)


def print_table(groups: dict[str, Counts], total: Counts, title: str) -> None:
    """Print one line per group and the total."""
    table = Table(title=title)
    labelled = bool(total.expected)
    headings = ["group", "rows", "correct", "accuracy"]
    headings += ["refused (FN)", "of right", "accepted (FP)", "of wrong"] if labelled else []
    headings += [reason for reason in REASONS if reason != "equal" and total.reasons[reason]]
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index == 0 else "right", no_wrap=index == 0)
    for name, counts in [*sorted(groups.items()), ("all", total)]:
        cells = [name, f"{counts.rows:,}", f"{counts.correct:,}", f"{counts.correct / counts.rows:.1%}"]
        if labelled:
            cells += [str(counts.false_negatives), str(counts.expected[True])]
            cells += [str(counts.false_positives), str(counts.expected[False])]
        cells += [str(counts.reasons[reason]) for reason in REASONS if reason != "equal" and total.reasons[reason]]
        table.add_row(*cells, end_section=name != "all" and name == max(groups))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m recipe.htpo.verify", description="Grade a file of responses.")
    parser.add_argument("file", type=Path, metavar="FILE", help="JSON lines or parquet")
    parser.add_argument("--response", default="response", metavar="COLUMN", help="the response (default: response)")
    parser.add_argument(
        "--ground-truth",
        default="ground_truth",
        metavar="COLUMN",
        help="the answer; reward_model.ground_truth looks into a struct (default: ground_truth)",
    )
    parser.add_argument(
        "--problem",
        metavar="COLUMN",
        help="the text of the problem, for refuse_copied (default: problem, question or raw_problem of the row or its "
        "extra_info, where there is one)",
    )
    parser.add_argument("--data-source", default="data_source", metavar="COLUMN", help="groups of the table")
    parser.add_argument("--expected", metavar="COLUMN", help="label: is the response correct (1, 0, true, false)")
    parser.add_argument("--category", metavar="COLUMN", help="groups of the table instead of --data-source")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table as JSON")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write every row with its verdict as JSON lines")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help="a verifier option, for example percent_either=false; may be repeated",
    )
    return parser


def parse_settings(settings: Sequence[str]) -> VerifierConfig:
    """Build the config from ``name=value`` pairs, with values in JSON or plain words."""
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"--set needs OPTION=VALUE, got {setting!r}")
        try:
            values[name] = json.loads(text)
        except json.JSONDecodeError:
            values[name] = text
    try:
        return VerifierConfig.from_dict(values)
    except ValueError as error:
        raise InputError(str(error)) from error


def run(options: argparse.Namespace) -> None:
    """Grade the file, print the table and write what was asked for."""
    config = parse_settings(options.set)
    rows = read_rows(options.file)
    if not rows:
        raise InputError(f"{options.file} holds no rows")
    groups: dict[str, Counts] = defaultdict(Counts)
    total = Counts()
    output: list[str] = []
    for row, verdict, expected, group in grade_rows(rows, options, config):
        groups[group].add(verdict, expected)
        total.add(verdict, expected)
        if options.output is not None:
            result = {"correct": verdict.correct, "reason": verdict.reason, "pred": verdict.pred}
            output.append(json.dumps(row | {"verdict": result}, ensure_ascii=False, default=str))
    print_table(groups, total, f"{options.file.name}, by {options.category or options.data_source}")
    unusable = total.reasons["ground_truth"]
    if unusable:
        example = next(truth for truth in (row_truth(row, options) for row in rows) if ground_truth_problem(truth))
        print(f"{unusable} rows have no usable ground truth, for example {example!r}", file=sys.stderr)
    if options.output is not None:
        options.output.write_text("\n".join(output) + "\n", encoding="utf-8")
    if options.json is not None:
        table = {"groups": {name: counts.to_dict() for name, counts in sorted(groups.items())}, "all": total.to_dict()}
        table["config"] = {option.name: getattr(config, option.name) for option in fields(config)}
        options.json.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def row_truth(row: dict[str, Any], options: argparse.Namespace) -> Any:
    """The ground truth of a row that was graded before."""
    return column(row, options.ground_truth, 0, "--ground-truth")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    try:
        run(build_parser().parse_args(argv))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
