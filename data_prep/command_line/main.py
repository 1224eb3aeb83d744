# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Command line: ``python -m data_prep COMMAND``; exit code 0, 1 on bad data, 2 on bad usage."""

import argparse
import logging
import os
import signal
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep.command_line import commands
from data_prep.errors import DataError
from data_prep.sources.answers import ANSWER_RULES


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; 141, as of a signal, when the reader of its output went away."""
    arguments = _parse(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        code = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
    except BrokenPipeError:
        # What is still buffered would be written, and fail, once more when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (OSError, sqlite3.Error) as error:
        print(f"error: {error}. Remedy: check free space, also for temporary files (TMPDIR)", file=sys.stderr)
    return 1


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments; ``settings`` are the words of ``passrate`` that are no options (n=8), wherever they stand."""
    parser = _parser()
    arguments, settings = parser.parse_known_args(argv)
    unknown = [word for word in settings if word.startswith("-") or "=" not in word]
    if settings and (unknown or arguments.run is not commands.passrate):
        parser.error(f"unrecognized arguments: {' '.join(unknown or settings)}")
    arguments.settings = settings
    return arguments


_FORCE = "replace an output that was made with other options"
_COLUMNS = {
    "problem": "the problem: text or chat messages",
    "answer": "what the answer rule reads",
    "level": "difficulty",
    "subject": "field",
    "id": "the source's own stable id",
    "system": "a system message in a column of its own",
    "images": "one image or a list of them",
    "pass_rate": "a published share or count of correct responses",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data_prep", description="Data sets to one verl parquet contract.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_list, _show, _build, _check, _stats, _decontaminate, _mix, _select, _passrate, _push):
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
    command = subparsers.add_parser(
        "build",
        help="build data sets: OUT/NAME/SPLIT.parquet",
        description="Build registered sets by NAME, or a new one from --source and its columns, or from a YAML file.",
    )
    command.add_argument("names", nargs="*", metavar="NAME", help="registered data sets, see `list`")
    command.add_argument("--out", type=Path, required=True, help="output folder")
    command.add_argument("--source", help="file, folder or Hugging Face name (default: the set's Hugging Face name)")
    command.add_argument("--config", type=Path, metavar="YAML", help="a new set in words; options here win over it")
    command.add_argument("--split", choices=("train", "test"), help="build this split only (a new set: train)")
    command.add_argument("--template", help="template name or .jinja file (default: the set's own; a new set: dapo)")
    command.add_argument("--dedup", choices=("rows", "problems", "none"), help="repetitions to remove")
    command.add_argument("--conflicts", choices=("keep", "drop", "error"), help="problems with several answers")
    command.add_argument("--bad-rows", choices=("error", "drop"), help="rows without problem or readable answer")
    command.add_argument("--data-source", help="verl's data_source (default: the set's own)")
    command.add_argument("--force", action="store_true", help="replace an output whatever it was made from")
    columns = command.add_argument_group("columns of the source (dotted paths; several: the first with a value)")
    for name, text in _COLUMNS.items():
        columns.add_argument(f"--{name.replace('_', '-')}", nargs="+", metavar="COLUMN", help=text)
    columns.add_argument("--pass-rate-of", type=_positive, metavar="N", help="responses the pass-rate column counts")
    columns.add_argument("--pass-rate-counts", choices=("correct", "wrong"), help="what it counts")
    columns.add_argument("--answer-rule", choices=tuple(ANSWER_RULES), help="how answers are read (default: math)")
    columns.add_argument("--keep", nargs="+", metavar="COLUMN", help="further columns that travel")
    columns.add_argument(
        "--filter", action="append", metavar="CONDITION", help="keep rows such as level>=3 or type=a,b; repeatable"
    )
    new = command.add_argument_group("a new set")
    new.add_argument("--name", help="name of the set (default: made from the source)")
    new.add_argument("--source-split", metavar="SPLIT", help="split of a folder or Hugging Face name to read")
    new.add_argument("--subset", help="configuration of a Hugging Face data set that has several")
    new.add_argument("--revision", help="commit, tag or branch of a Hugging Face data set")
    new.add_argument("--ability", help="verl's ability (default: math)")
    new.add_argument("--licence", help="licence of the source, for the file's record and the card")
    generated = command.add_argument_group("generated sets")
    generated.add_argument("--train-rows", type=_positive, default=2000, help="rows of train (default 2000)")
    generated.add_argument("--test-rows", type=_positive, default=200, help="rows of test (default 200)")
    generated.add_argument("--seed", type=int, default=0, help="seed of train (default 0)")
    generated.add_argument("--test-seed", type=int, default=1, help="seed of test (default 1)")
    generated.add_argument("--terms", type=_integers, help="numbers of terms, e.g. 2,3,4 (arithmetic)")
    generated.add_argument(
        "--task-option", action="append", default=[], metavar="NAME=VALUE", help="option of a reasoning_gym task"
    )
    command.set_defaults(run=commands.build)


def _check(subparsers) -> None:
    command = subparsers.add_parser("check", help="find what would break a run, in any verl parquet files of one list")
    command.add_argument("files", nargs="+", type=Path, metavar="FILE")
    command.add_argument("--tokenizer", help="name or folder, with --max-prompt-length")
    command.add_argument("--max-prompt-length", type=_positive, help="longest prompt in tokens, chat template applied")
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
    command.add_argument(
        "--against",
        nargs="+",
        type=Path,
        default=[],
        metavar="EVAL",
        help="evaluation files, or folders of them (default: every NAME/test.parquet beside TRAIN's folder)",
    )
    command.add_argument("--near", type=float, default=0.7, help="Jaccard of a near duplicate (default 0.7)")
    command.add_argument("--n", type=int, default=12, help="words in a shingle (default 12)")
    command.add_argument("--threshold", type=float, default=0.5, help="share of shingles that counts (default 0.5)")
    command.add_argument("--report", type=Path, metavar="JSONL", help="write the matched pairs here")
    command.add_argument("--out", type=Path, metavar="FILE", help="write TRAIN without the matching rows")
    command.add_argument(
        "--clean-evals", type=Path, metavar="FOLDER", help="write each EVAL without its contaminated problems"
    )
    command.add_argument("--force", action="store_true", help=_FORCE)
    command.set_defaults(run=commands.decontaminate)


def _mix(subparsers) -> None:
    command = subparsers.add_parser("mix", help="join files, whole or by weight, shuffled")
    command.add_argument("parts", nargs="+", metavar="FILE[=WEIGHT]", help="files; weights are scaled to sum to 1")
    command.add_argument("--out", type=Path, required=True, metavar="FILE")
    command.add_argument("--rows", type=_positive, help="rows of the result, with weights")
    command.add_argument("--seed", type=_seed, default=0, help="seed of the draw and the shuffle")
    command.add_argument("--no-shuffle", action="store_true", help="keep the files one after the other")
    command.add_argument("--force", action="store_true", help=_FORCE)
    command.set_defaults(run=commands.mix)


def _select(subparsers) -> None:
    command = subparsers.add_parser("select", help="filter or stratify by column, pass rate, length, or at random")
    command.add_argument("file", type=Path, metavar="FILE")
    command.add_argument("--out", type=Path, required=True, metavar="FILE")
    command.add_argument(
        "--where", action="append", default=[], metavar="CONDITION", help="keep rows such as level=4,5; repeatable"
    )
    command.add_argument("--verdicts", type=Path, metavar="FILE", help="judged responses: fills in pass_rate")
    command.add_argument(
        "--verdict-key", choices=("id", "index", "problem"), default="id", help="what the verdicts repeat (default id)"
    )
    command.add_argument("--pass-rate", nargs=2, type=float, metavar=("LOW", "HIGH"), help="both inclusive")
    command.add_argument("--unmeasured", choices=("keep", "drop"), default="drop", help="rows without a pass rate")
    command.add_argument("--tokenizer", help="name or folder, with --max-prompt-length")
    command.add_argument("--max-prompt-length", type=_positive, help="longest prompt in tokens, chat template applied")
    command.add_argument("--stratify", metavar="COLUMN", help="draw --per-stratum rows of each value")
    command.add_argument("--per-stratum", type=_positive, metavar="N")
    command.add_argument("--bins", type=_positive, default=5, help="intervals when the column is pass_rate (default 5)")
    command.add_argument("--rows", type=_positive, help="draw so many rows at random")
    command.add_argument("--seed", type=int, default=0, help="seed of the draws")
    command.add_argument("--order", metavar="[-]COLUMN", help="sort by a column; -COLUMN from high to low")
    command.add_argument("--complement", type=Path, metavar="FILE", help="write all other rows here")
    command.add_argument("--force", action="store_true", help=_FORCE)
    command.set_defaults(run=commands.select)


def _passrate(subparsers) -> None:
    command = subparsers.add_parser(
        "passrate",
        help="measure how often a model solves each problem, and fill it in",
        epilog="SETTING=VALUE, anywhere: a setting of the evaluation, such as n=8 max_tokens=4096",
    )
    command.add_argument("file", type=Path, metavar="FILE")
    command.add_argument(
        "settings", nargs="*", metavar="SETTING=VALUE", help="of the evaluation, e.g. n=8 max_tokens=4096"
    )
    command.add_argument("--model", required=True, help="Hugging Face folder or name, checkpoint or directory of a run")
    command.add_argument("--out", type=Path, required=True, metavar="FILE")
    command.add_argument(
        "--responses",
        type=Path,
        metavar="FOLDER",
        help="responses and verdicts (default: OUT.responses); resumed there",
    )
    command.add_argument("--force", action="store_true", help=_FORCE)
    command.set_defaults(run=commands.passrate)


def _push(subparsers) -> None:
    command = subparsers.add_parser("push", help="publish files on the Hugging Face Hub, with a card")
    command.add_argument("files", nargs="+", type=Path, metavar="FILE", help="NAME/SPLIT.parquet, as build writes them")
    command.add_argument("--repository", required=True, metavar="OWNER/NAME", help="data set on the Hub")
    command.add_argument("--licence", help="licence of all files, where a source's is not known")
    command.add_argument("--private", action="store_true", help="make the repository private, if it is made")
    command.add_argument("--revision", metavar="BRANCH", help="branch to write to (default: main)")
    command.add_argument("--dry-run", action="store_true", help="print the card and the files, and push nothing")
    command.set_defaults(run=commands.push)


def _integers(text: str) -> tuple[int, ...]:
    return tuple(_integer(part) for part in text.split(","))


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no integer") from error


def _positive(text: str) -> int:
    number = _integer(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not positive")
    return number


def _seed(text: str) -> int:
    """NumPy's generators take no negative ones."""
    number = _integer(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is negative")
    return number
