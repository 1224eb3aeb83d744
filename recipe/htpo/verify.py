# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Grade a file of responses.

    python -m recipe.htpo.verify responses.jsonl
    python -m recipe.htpo.verify cases.jsonl --response solution --expected expected --category category

FILE is JSON lines or parquet. Ground truths may be strings, lists of strings or verl's ``reward_model`` struct. A task
with a scorer of its own (scorers.py) is graded by it, from the row's ``extra_info``. What is written appears whole or
not at all.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tqdm import tqdm

from data_prep.errors import DataError
from data_prep.storage.files import atomic_output, refuse_overwriting
from recipe.htpo.reward import problem_text
from recipe.htpo.scorers import scorer_for
from recipe.htpo.tasks.errors import MissingInfo
from recipe.htpo.verifier import REASONS, Verdict, VerifierConfig, verify
from recipe.htpo.verifier.rows import InputError, column, label, read_rows

logger = logging.getLogger(__name__)


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
        expected = None if options.expected is None else label(row, options.expected, number, "--expected")
        if options.data_source is None:
            data_source = str(row.get("data_source", "-"))
        else:
            data_source = str(column(row, options.data_source, number, "--data-source"))
        group = data_source
        if options.category is not None:
            group = str(column(row, options.category, number, "--category"))
        verdict = task_verdict(row, number, data_source, response, truth)
        if verdict is None:
            problem = column(row, options.problem, number, "--problem") if options.problem else problem_of(row)
            verdict = verify(response, truth, config, str(problem))
        yield row, verdict, expected, group


def task_verdict(row: dict[str, Any], number: int, data_source: str, response: str, truth: Any) -> Verdict | None:
    """The verdict of the scorer that the row's data source has for itself, or None where it is mathematics.

    Raises InputError where the row lacks what the scorer needs, or a package is missing. Any other exception of the
    scorer is a reason, as in a run.
    """
    extra_info = row.get("extra_info")
    try:
        scorer = scorer_for(data_source)
        return None if scorer is None else scorer(response, truth, extra_info if isinstance(extra_info, dict) else {})
    except MissingInfo as error:
        raise InputError(
            f"row {number}: the scorer of data_source {data_source!r} needs column 'extra_info.{error.args[0]}', which "
            "a file of responses of an evaluation does not hold. Grade rows with the extra_info that data_prep build "
            "wrote; the evaluation's own verdicts stand in its columns acc and reason"
        ) from error
    except ImportError as error:
        raise InputError(
            f"row {number}: the scorer of data_source {data_source!r} needs a package that is missing ({error}); "
            "pip install 'verl-htpo[tasks]'"
        ) from error
    except Exception:
        logger.exception("the scorer of data_source %s raised", data_source)
        return Verdict(False, "internal_error", "")


def problem_of(row: dict[str, Any]) -> str:
    """The problem of a row, from the columns that the reward looks at too; empty where there is none."""
    return problem_text(row) or problem_text(row["extra_info"] if isinstance(row.get("extra_info"), dict) else None)


def print_table(groups: dict[str, Counts], total: Counts, title: str) -> None:
    """Print one line per group and the total."""
    table = Table(title=escape(title))
    labelled = bool(total.expected)
    headings = ["group", "rows", "correct", "accuracy"]
    headings += ["refused (FN)", "of right", "accepted (FP)", "of wrong"] if labelled else []
    headings += [reason for reason in REASONS if reason != "equal" and total.reasons[reason]]
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index == 0 else "right", no_wrap=index == 0)
    for name, counts in [*sorted(groups.items()), ("all", total)]:
        cells = [escape(name), f"{counts.rows:,}", f"{counts.correct:,}", f"{counts.correct / counts.rows:.1%}"]
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
    parser.add_argument(
        "--data-source",
        metavar="COLUMN",
        help="groups of the table, and which scorer grades a row (default: data_source, where there is one)",
    )
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
    check_outputs(options)
    rows = read_rows(options.file)
    if not rows:
        raise InputError(f"{options.file} holds no rows")
    groups: dict[str, Counts] = defaultdict(Counts)
    total = Counts()
    unusable: list[Any] = []
    with ExitStack() as files:
        # Opened before the first verdict: a folder that cannot be written is no surprise after an hour of grading.
        output, table = (path and files.enter_context(atomic_output(path)) for path in (options.output, options.json))
        for row, verdict, expected, group in grade_rows(rows, options, config):
            groups[group].add(verdict, expected)
            total.add(verdict, expected)
            if verdict.reason == "ground_truth":
                unusable.append(column(row, options.ground_truth, 0, "--ground-truth"))
            if output is not None:
                write_verdict(output, row, verdict)
        if table is not None:
            write_table(table, groups, total, config)
    print_table(groups, total, f"{options.file.name}, by {options.category or options.data_source or 'data_source'}")
    if unusable:
        print(f"{len(unusable)} rows have no usable ground truth, for example {unusable[0]!r}", file=sys.stderr)


def check_outputs(options: argparse.Namespace) -> None:
    """Raises InputError or DataError where what is written would replace the input, or is no file."""
    outputs = [path for path in (options.output, options.json) if path is not None]
    for path in outputs:
        refuse_overwriting(path, [options.file])
        if path.exists() and not path.is_file():
            raise InputError(f"cannot write {path}: it is no regular file")
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise InputError("--output and --json name the same file")


def write_verdict(output: BinaryIO, row: dict[str, Any], verdict: Verdict) -> None:
    """Append one row with its verdict as a JSON line."""
    result = {"correct": verdict.correct, "reason": verdict.reason, "pred": verdict.pred}
    output.write(as_json(row | {"verdict": result}))


def write_table(table: BinaryIO, groups: dict[str, Counts], total: Counts, config: VerifierConfig) -> None:
    """Write the counts and the verifier's options as JSON."""
    content = {"groups": {name: counts.to_dict() for name, counts in sorted(groups.items())}, "all": total.to_dict()}
    content["config"] = {option.name: getattr(config, option.name) for option in fields(config)}
    table.write(as_json(content, indent=2))


def as_json(content: dict[str, Any], indent: int | None = None) -> bytes:
    """JSON in UTF-8 with a line end; half a surrogate pair, which UTF-8 does not know, stays the escape that it was."""
    text = json.dumps(content, ensure_ascii=False, default=str, indent=indent)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    try:
        run(build_parser().parse_args(argv))
    except (InputError, DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
