# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Command line: ``python -m data_prep COMMAND``; exit code 0, 1 on bad data, 2 on bad usage."""

import argparse
import logging
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep import commands
from data_prep.arithmetic import TERMS
from data_prep.errors import DataError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        return arguments.run(arguments)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
    except (OSError, sqlite3.Error) as error:
        print(f"error: {error}. Remedy: check free space, also for temporary files (TMPDIR)", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data_prep", description="Data sets to one verl parquet contract.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_list, _show, _build, _check, _stats, _decontaminate, _mix, _select, _convert):
        add(subparsers)
    return parser


def _list(subparsers) -> None:
    command = subparsers.add_parser("list", help="data sets and prompt templates")
    command.set_defaults(run=commands.list_sets)


def _show(subparsers) -> None:
    command = subparsers.add_parser("show", help="a data set, a template, or how a file was made")
    command.add_argument("what", help="name of a data set or template, or a parquet file")
    command.set_defaults(run=commands.show)


def _build(subparsers) -> None:
    command = subparsers.add_parser("build", help="build data sets: OUT/NAME/SPLIT.parquet")
    command.add_argument("names", nargs="+", metavar="NAME", help="data sets, see `list`")
    command.add_argument("--out", type=Path, required=True, help="output folder")
    command.add_argument("--source", help="file, folder or Hugging Face name (default: the set's Hugging Face name)")
    command.add_argument("--split", choices=("train", "test"), help="build this split only")
    command.add_argument("--template", help="template name or .jinja file (default: the set's own)")
    command.add_argument("--dedup", choices=("rows", "problems", "none"), help="repetitions to remove")
    command.add_argument(
        "--conflicts", choices=("keep", "drop", "error"), default="keep", help="problems with several answers"
    )
    command.add_argument("--bad-rows", choices=("error", "drop"), help="rows without problem or readable answer")
    command.add_argument("--data-source", help="verl's data_source (default: the set's own)")
    command.add_argument("--force", action="store_true", help="build even when the output is up to date")
    generated = command.add_argument_group("generated sets")
    generated.add_argument("--train-rows", type=int, default=2000, help="rows of train (default 2000)")
    generated.add_argument("--test-rows", type=int, default=200, help="rows of test (default 200)")
    generated.add_argument("--seed", type=int, default=0, help="seed of train (default 0)")
    generated.add_argument("--test-seed", type=int, default=1, help="seed of test (default 1)")
    generated.add_argument("--terms", type=_integers, default=TERMS, help="numbers of terms, e.g. 2,3,4")
    command.set_defaults(run=commands.build)


def _check(subparsers) -> None:
    command = subparsers.add_parser("check", help="find what would break a run, in any verl parquet files of one list")
    command.add_argument("files", nargs="+", type=Path, metavar="FILE")
    command.add_argument("--tokenizer", help="name or folder, with --max-prompt-length")
    command.add_argument("--max-prompt-length", type=int, help="longest prompt in tokens, chat template applied")
    command.set_defaults(run=commands.check)


def _stats(subparsers) -> None:
    command = subparsers.add_parser("stats", help="rows, repetitions, conflicts, answers, lengths")
    command.add_argument("files", nargs="+", type=Path, metavar="FILE")
    command.add_argument("--tokenizer", help="name or folder: also count tokens")
    command.add_argument("--conflicts", type=Path, metavar="JSONL", help="write the problems with several answers here")
    command.set_defaults(run=commands.stats)


def _decontaminate(subparsers) -> None:
    command = subparsers.add_parser("decontaminate", help="find evaluation problems in a training file")
    command.add_argument("train", type=Path, metavar="TRAIN")
    command.add_argument("--against", nargs="+", type=Path, required=True, metavar="EVAL", help="evaluation files")
    command.add_argument("--n", type=int, default=12, help="words in a shingle (default 12)")
    command.add_argument("--threshold", type=float, default=0.5, help="share of shingles that counts (default 0.5)")
    command.add_argument("--report", type=Path, metavar="JSONL", help="write the matched pairs here")
    command.add_argument("--out", type=Path, metavar="FILE", help="write TRAIN without the matching rows")
    command.add_argument(
        "--clean-evals", type=Path, metavar="FOLDER", help="write each EVAL without its contaminated problems"
    )
    command.set_defaults(run=commands.decontaminate)


def _mix(subparsers) -> None:
    command = subparsers.add_parser("mix", help="join files, whole or by weight, shuffled")
    command.add_argument("parts", nargs="+", metavar="FILE[=WEIGHT]", help="files; weights are scaled to sum to 1")
    command.add_argument("--out", type=Path, required=True, metavar="FILE")
    command.add_argument("--rows", type=int, help="rows of the result, with weights")
    command.add_argument("--seed", type=int, default=0, help="seed of the draw and the shuffle")
    command.add_argument("--no-shuffle", action="store_true", help="keep the files one after the other")
    command.set_defaults(run=commands.mix)


def _select(subparsers) -> None:
    command = subparsers.add_parser("select", help="filter or stratify by column, pass rate, length, or at random")
    command.add_argument("file", type=Path, metavar="FILE")
    command.add_argument("--out", type=Path, required=True, metavar="FILE")
    command.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE[,VALUE]", help="keep these values; repeatable"
    )
    command.add_argument("--verdicts", type=Path, metavar="FILE", help="judged responses: fills in pass_rate")
    command.add_argument(
        "--verdict-key", choices=("id", "index", "problem"), default="id", help="what the verdicts repeat (default id)"
    )
    command.add_argument("--pass-rate", nargs=2, type=float, metavar=("LOW", "HIGH"), help="both inclusive")
    command.add_argument("--unmeasured", choices=("keep", "drop"), default="drop", help="rows without a pass rate")
    command.add_argument("--tokenizer", help="name or folder, with --max-prompt-length")
    command.add_argument("--max-prompt-length", type=int, help="longest prompt in tokens, chat template applied")
    command.add_argument("--stratify", metavar="COLUMN", help="draw --per-stratum rows of each value")
    command.add_argument("--per-stratum", type=int, metavar="N")
    command.add_argument("--bins", type=int, default=5, help="intervals when the column is pass_rate (default 5)")
    command.add_argument("--rows", type=int, help="draw so many rows at random")
    command.add_argument("--seed", type=int, default=0, help="seed of the draws")
    command.set_defaults(run=commands.select)


def _convert(subparsers) -> None:
    command = subparsers.add_parser("convert", help="build a data set described by a YAML file")
    command.add_argument("--config", type=Path, required=True, metavar="YAML")
    command.add_argument("--out", type=Path, required=True, metavar="FILE")
    command.add_argument("--force", action="store_true", help="build even when the output is up to date")
    command.set_defaults(run=commands.convert)


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))
