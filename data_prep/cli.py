# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Command line: ``python -m data_prep COMMAND``; exit code 0, 1 on bad data, 2 on bad usage."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

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
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data_prep", description="Data sets to one verl parquet contract.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("list", help="data sets and prompt templates")
    command.set_defaults(run=_list)

    command = commands.add_parser("build", help="build data sets: OUT/NAME/SPLIT.parquet")
    command.add_argument("names", nargs="+", metavar="NAME", help="data sets, see `list`")
    command.add_argument("--out", type=Path, required=True, help="output folder")
    command.add_argument("--source", help="file, folder or Hugging Face name (default: the set's Hugging Face name)")
    command.add_argument("--split", choices=("train", "test"), help="build this split only")
    _add_build_options(command)
    generated = command.add_argument_group("generated sets")
    generated.add_argument("--train-rows", type=int, default=2000, help="rows of train (default 2000)")
    generated.add_argument("--test-rows", type=int, default=200, help="rows of test (default 200)")
    generated.add_argument("--seed", type=int, default=0, help="seed of train (default 0)")
    generated.add_argument("--test-seed", type=int, default=1, help="seed of test (default 1)")
    generated.add_argument("--terms", type=_integers, default=TERMS, help="numbers of terms, e.g. 2,3,4")
    command.set_defaults(run=_build)
    return parser


def _add_build_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--template", help="template name or .jinja file (default: the set's own)")
    command.add_argument("--dedup", choices=("rows", "problems", "none"), help="repetitions to remove")
    command.add_argument(
        "--conflicts", choices=("keep", "drop", "error"), default="keep", help="problems with several answers"
    )
    command.add_argument("--bad-rows", choices=("error", "drop"), help="rows without problem or readable answer")
    command.add_argument("--data-source", help="verl's data_source (default: the set's own)")
    command.add_argument("--force", action="store_true", help="build even when the output is up to date")


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _list(arguments: argparse.Namespace) -> int:
    from data_prep.registry import data_sets
    from data_prep.templates import TEMPLATES

    for name, data_set in data_sets().items():
        print(f"{name:16} {'+'.join(data_set.splits):10} {data_set.title}")
    print(f"templates: {', '.join(f'{t.name} v{t.version}' for t in TEMPLATES.values())}")
    return 0


def _build(arguments: argparse.Namespace) -> int:
    from data_prep.build import BuildOptions, build_split
    from data_prep.dataset import GenerateOptions
    from data_prep.registry import find_data_set

    options = BuildOptions(
        source=arguments.source,
        template=arguments.template,
        dedup=arguments.dedup,
        conflicts=arguments.conflicts,
        bad_rows=arguments.bad_rows,
        data_source=arguments.data_source,
        force=arguments.force,
        generate=GenerateOptions(
            train_rows=arguments.train_rows,
            test_rows=arguments.test_rows,
            seed=arguments.seed,
            test_seed=arguments.test_seed,
            terms=arguments.terms,
        ),
    )
    for data_set in [find_data_set(name) for name in arguments.names]:
        if arguments.split and arguments.split not in data_set.splits:
            raise DataError(f"data set {data_set.name!r} has no split {arguments.split!r}, only {[*data_set.splits]}")
        for split in [arguments.split] if arguments.split else data_set.splits:
            result = build_split(data_set, split, arguments.out / data_set.name / f"{split}.parquet", options)
            counts = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in result.rows.items() if count)
            print(f"{result.path}: {counts}{' (up to date)' if result.up_to_date else ''}")
    return 0
