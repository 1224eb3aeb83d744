# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The commands of the command line: each takes parsed arguments, prints, and returns the exit code.

Heavy modules are imported by the command that needs them, so that ``list`` and ``--help`` are instant.
"""

import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from data_prep.errors import DataError


def list_sets(arguments: Namespace) -> int:
    """``list``."""
    from data_prep.sources.registry import data_sets
    from data_prep.sources.templates import TEMPLATES

    for name, data_set in data_sets().items():
        print(f"{name:16} {'+'.join(data_set.splits):10} {data_set.title}")
    print(f"templates: {', '.join(f'{template.name} v{template.version}' for template in TEMPLATES.values())}")
    return 0


def show(arguments: Namespace) -> int:
    """``show NAME`` or ``show FILE``."""
    from data_prep.sources.registry import find_data_set
    from data_prep.sources.templates import TEMPLATES
    from data_prep.storage.provenance import read_provenance

    path = Path(arguments.what)
    if path.is_file():
        provenance = read_provenance(path)
        if provenance is None:
            raise DataError("the file does not say how it was made", file=path, remedy="make it with data_prep")
        print(json.dumps(provenance, indent=2, ensure_ascii=False))
    elif arguments.what in TEMPLATES:
        print(json.dumps(TEMPLATES[arguments.what].record(), indent=2, ensure_ascii=False))
    else:
        data_set = find_data_set(arguments.what)
        for name, value in vars(data_set).items():
            print(f"{name:12} {vars(value) if name == 'columns' else value}")
    return 0


def build(arguments: Namespace) -> int:
    """``build NAME...``, ``build --source FILE``, ``build --config YAML``."""
    from data_prep.operations.build import BuildOptions, build_split
    from data_prep.sources.dataset import GenerateOptions
    from data_prep.sources.description import changed, describe
    from data_prep.sources.registry import find_data_set

    given = _given(arguments)
    source = arguments.source
    options = {name: getattr(arguments, name) for name in ("template", "dedup", "conflicts", "bad_rows", "data_source")}
    if arguments.names:
        if arguments.config or arguments.name or arguments.source_split:
            raise DataError(
                "--config, --name and --source-split describe a new set, and a registered one is named",
                remedy="leave out the NAME, or these options",
            )
        data_sets = [changed(find_data_set(name), given) for name in arguments.names]
    else:
        if not arguments.config and not source:
            raise DataError("nothing to build", remedy="name a set of `list`, or give --source or --config")
        description = describe(given, arguments.config)
        data_sets, source = [description.data_set()], description.source
        options["conflicts"] = description.conflicts
    generate = GenerateOptions(
        train_rows=arguments.train_rows,
        test_rows=arguments.test_rows,
        seed=arguments.seed,
        test_seed=arguments.test_seed,
        task=dict(_task_option(text) for text in arguments.task_option),
        **({"terms": arguments.terms} if arguments.terms else {}),
    )
    for data_set in data_sets:
        splits = [arguments.split] if arguments.split else list(data_set.splits)
        if not set(splits) <= set(data_set.splits):
            raise DataError(f"data set {data_set.name!r} has no split {arguments.split!r}, only {[*data_set.splits]}")
        if len(splits) > 1 and source and Path(source).is_file():
            raise DataError(
                f"one file cannot be {' and '.join(splits)} of {data_set.name!r}",
                file=source,
                remedy="name its split with --split, or give the folder of all files",
            )
        for split in splits:
            path = arguments.out / data_set.name / f"{split}.parquet"
            build_options = BuildOptions(source=source, force=arguments.force, generate=generate, **options)
            result = build_split(data_set, split, path, build_options)
            _print_rows(path, result.rows, result.up_to_date)
    return 0


def _task_option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier() or name in ("seed", "size"):
        raise DataError(f"{text!r} is no task option", remedy="write NAME=VALUE; --seed and --train-rows are apart")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


_DESCRIBING = (
    *("source", "name", "keep", "filter", "template", "split", "source_split", "subset", "revision", "data_source"),
    *("ability", "pass_rate_of", "pass_rate_counts", "dedup", "conflicts", "bad_rows", "licence"),
)
_COLUMNS = ("problem", "answer", "level", "subject", "id", "system", "images", "pass_rate")


def _given(arguments: Namespace) -> dict:
    """The options of ``build`` that were written, as keys of a description."""
    given = {name: getattr(arguments, name) for name in _DESCRIBING if getattr(arguments, name) is not None}
    if arguments.answer_rule:
        given["answer"] = arguments.answer_rule
    columns = {name: getattr(arguments, name) for name in _COLUMNS if getattr(arguments, name)}
    return given | {"columns": columns}


def check(arguments: Namespace) -> int:
    """``check FILE...``; 1 when there is an error."""
    from data_prep.operations.check import check_files

    problems = check_files(arguments.files, arguments.tokenizer, arguments.max_prompt_length, warnings=True)
    for problem in problems:
        print(problem)
    errors = sum(problem.severity == "error" for problem in problems)
    print(f"{len(arguments.files)} files, {errors} errors, {len(problems) - errors} warnings")
    return 1 if errors else 0


def stats(arguments: Namespace) -> int:
    """``stats FILE...``."""
    from data_prep.operations.lengths import load_tokenizer
    from data_prep.operations.stats import lines, stats_of, write_conflicts
    from data_prep.storage.files import refuse_overwriting

    if arguments.conflicts and len(arguments.files) > 1:
        raise DataError("--conflicts takes one file", remedy="run stats on each file")
    if arguments.conflicts:
        refuse_overwriting(arguments.conflicts, arguments.files)
    tokenizer = load_tokenizer(arguments.tokenizer) if arguments.tokenizer else None
    for path in arguments.files:
        print(path)
        for line in lines(stats_of(path, tokenizer)):
            print(f"  {line}")
        if arguments.conflicts:
            print(f"  {write_conflicts(path, arguments.conflicts):,} conflicts written to {arguments.conflicts}")
    return 0


def decontaminate(arguments: Namespace) -> int:
    """``decontaminate TRAIN --against EVAL...``."""
    from data_prep.operations.decontaminate import (
        evaluation_files,
        find_overlap,
        write_clean_eval,
        write_clean_train,
        write_report,
    )
    from data_prep.storage.files import refuse_one_path_twice, refuse_overwriting

    against = evaluation_files(arguments.train, arguments.against)
    inputs = [arguments.train, *against]
    cleaned = {
        path: arguments.clean_evals / path.parent.name / path.name for path in inputs[1:] if arguments.clean_evals
    }
    outs = [out for out in (arguments.out, arguments.report, *cleaned.values()) if out]
    for out in outs:
        refuse_overwriting(out, inputs)
    refuse_one_path_twice(outs)
    report = find_overlap(arguments.train, against, arguments.n, arguments.threshold, near=arguments.near)
    for path in against:
        total = sum(problem.file == path for problem in report.problems)
        print(f"{path}: {len(report.contaminated(path)):,} of {total:,} problems contaminated")
        near = sum(problem.near >= report.near for problem in report.contaminated(path))
        if near:
            print(f"  {near:,} of them are near duplicates of a training row")
        exact, none = report.compared("exact", path), report.compared("none", path)
        if exact or none:
            print(f"  {exact:,} shorter than {arguments.n} words, compared as a whole; {none:,} could not be compared")
    remove = report.rows_to_remove()
    print(f"{arguments.train}: {len(remove):,} of {report.train_rows:,} rows match a contaminated problem")
    if arguments.report:
        write_report(report, arguments.report)
    options = {"n": arguments.n, "threshold": arguments.threshold, "near": arguments.near}
    if arguments.out:
        written = write_clean_train(report, arguments.train, against, arguments.out, options, arguments.force)
        left = find_overlap(arguments.train, against, arguments.n, arguments.threshold, remove, arguments.near)
        print(f"{arguments.out}: written {written:,} rows; {len(left.contaminated()):,} problems remaining by phrases")
    for path, out in cleaned.items():
        written = write_clean_eval(report, arguments.train, path, out, options, arguments.force)
        print(f"{out}: written {written:,} rows")
    return 0


def mix(arguments: Namespace) -> int:
    """``mix FILE[=WEIGHT]... --out FILE``."""
    from data_prep.operations.mix import Part
    from data_prep.operations.mix import mix as mix_files

    parts = []
    for text in arguments.parts:
        path, equals, weight = text.rpartition("=") if "=" in text else (text, "", "")
        try:
            parts.append(Part(Path(path), float(weight) if equals else None))
        except ValueError as error:
            raise DataError(f"{weight!r} is no weight", remedy="write FILE=0.7") from error
    taken = mix_files(parts, arguments.out, arguments.rows, arguments.seed, not arguments.no_shuffle, arguments.force)
    for name, count in taken.items():
        print(f"{name}: {count:,} rows taken")
    print(f"{arguments.out}: written {sum(taken.values()):,} rows")
    return 0


def select(arguments: Namespace) -> int:
    """``select FILE --out FILE``."""
    from data_prep.operations.select import Selection
    from data_prep.operations.select import select as select_rows
    from data_prep.sources.filters import Condition

    selection = Selection(
        where=tuple(Condition.parse(text) for text in arguments.where),
        verdicts=arguments.verdicts,
        verdict_key=arguments.verdict_key,
        pass_rate=tuple(arguments.pass_rate) if arguments.pass_rate else None,
        unmeasured=arguments.unmeasured,
        tokenizer=arguments.tokenizer,
        max_prompt_length=arguments.max_prompt_length,
        stratify=arguments.stratify,
        per_stratum=arguments.per_stratum,
        bins=arguments.bins,
        rows=arguments.rows,
        seed=arguments.seed,
        order=arguments.order,
    )
    counts = select_rows(arguments.file, arguments.out, selection, arguments.force, arguments.complement)
    _print_rows(arguments.out, counts)
    return 0


def passrate(arguments: Namespace) -> int:
    """``passrate FILE --model MODEL --out FILE n=8``."""
    from data_prep.operations.passrate import measure_pass_rates

    responses = arguments.responses or arguments.out.with_name(f"{arguments.out.stem}.responses")
    counts = measure_pass_rates(
        arguments.file, arguments.model, arguments.out, responses, arguments.settings, arguments.force
    )
    _print_rows(arguments.out, counts)
    return 0


def push(arguments: Namespace) -> int:
    """``push FILE... --repository OWNER/NAME``."""
    from data_prep.operations.push import CARD, plan
    from data_prep.operations.push import push as push_files

    planned = plan(arguments.files, arguments.repository, arguments.licence)
    if arguments.dry_run:
        print(planned.card)
    for file in planned.files:
        print(f"{file.path} -> {file.name} ({file.path.stat().st_size:,} bytes)")
    if arguments.dry_run:
        print(f"nothing was pushed to {arguments.repository}: {len(planned.files)} files and {CARD}")
        return 0
    commit = push_files(planned, arguments.private, arguments.revision)
    print(f"pushed; read it with load_dataset({arguments.repository!r}, NAME, revision={commit!r})")
    return 0


def _print_rows(path: Path, rows: dict[str, int], up_to_date: bool = False) -> None:
    counts = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in rows.items() if count)
    print(f"{path}: {counts}{' (up to date)' if up_to_date else ''}", file=sys.stdout)
