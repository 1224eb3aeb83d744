# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Finds evaluation problems inside a training file, and writes clean files.

The share of an evaluation problem is the part of its n-word shingles that occur anywhere in the training file; from
``threshold`` on it counts as contaminated. A training row is removed when it alone holds that share of a contaminated
problem. Boilerplate spread over many rows ("where m and n are relatively prime ...") can keep the share of a problem
up after that; such problems are counted as ``remaining``.

An evaluation problem of fewer than n words has no shingle: it is compared as a whole, apart from case, white space and
LaTeX spacing.

A near duplicate, such as a problem whose wording was changed here and there, shares few long runs of words. Candidates
come from MinHash (the package rensa) over runs of ``NEAR_WORDS`` words, and count when the share of runs that the two
texts have in common (Jaccard) is at least ``near`` and both have the same numbers: with others it is another problem.

The evaluation problems are held in memory, the training file is streamed.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data_prep.contract import (
    contract_batches,
    contract_schema,
    derived_recipe,
    extra,
    keep_rows,
    require_contract,
)
from data_prep.errors import DataError
from data_prep.operations.shingles import normalised, numerals, shingles
from data_prep.storage.files import atomic_output
from data_prep.storage.provenance import refuse_other_configuration
from data_prep.storage.writer import write_dataset

NEAR_WORDS = 2
PERMUTATIONS = 128
BANDS = 32
"""Of the MinHash index: pairs of a Jaccard of 0.7 are missed with a chance of 1.5e-4 (1 - 0.7^4 to the 32nd power)."""

Places = dict[str, list[int]]
"""For each shingle the evaluation problems that hold it."""


@dataclass
class EvalProblem:
    """One evaluation problem and what was found of it."""

    file: Path
    row: int
    id: str
    text: str
    answer: str
    shingles: int
    kind: str = "shingles"
    """How it is compared: ``shingles``, ``exact`` (too short for them), or ``none`` (no text)."""
    data_source: str = ""
    index: int | None = None
    share: float = 0.0
    near: float = 0.0
    """Largest Jaccard with a training row, from ``Report.near`` on."""
    matches: list["Match"] = field(default_factory=list)


@dataclass(frozen=True)
class Match:
    """A training row that holds at least the threshold share of an evaluation problem."""

    row: int
    id: str
    answer: str
    share: float
    text: str


@dataclass
class Report:
    """Result of ``find_overlap``."""

    problems: list[EvalProblem]
    """All evaluation problems, in order."""
    threshold: float
    """Share from which a problem counts as contaminated."""
    train_rows: int
    """Rows of the training file."""
    near: float
    """Jaccard from which a problem counts as a near duplicate."""

    def contaminated(self, file: Path | None = None) -> list[EvalProblem]:
        """Contaminated problems, of one evaluation file or of all."""
        chosen = [p for p in self.problems if file is None or p.file == file]
        return [p for p in chosen if p.share >= self.threshold or p.near >= self.near]

    def compared(self, kind: str, file: Path | None = None) -> int:
        """Number of evaluation problems that were compared in this way."""
        return sum(p.kind == kind for p in self.problems if file is None or p.file == file)

    def rows_to_remove(self) -> frozenset[int]:
        """Training rows that hold the threshold share of a contaminated problem."""
        return frozenset(match.row for problem in self.contaminated() for match in problem.matches)


def find_overlap(
    train: Path,
    evals: list[Path],
    n: int = 12,
    threshold: float = 0.5,
    skip: frozenset[int] = frozenset(),
    near: float = 0.7,
) -> Report:
    """Compares every evaluation problem with the rows of ``train`` whose numbers are not in ``skip``.

    Raises DataError when ``n``, ``threshold`` or ``near`` is out of range or a file is not of the contract.
    """
    if not 0.5 <= near <= 1:
        raise DataError(f"near={near} out of range", remedy="use 0.5 to 1, 1 being the same runs of words")
    if n < 1 or not 0 < threshold <= 1:
        raise DataError(f"n={n}, threshold={threshold} out of range", remedy="use n >= 1 and 0 < threshold <= 1")
    problems, places = _index(evals, n)
    seen: list[set[str]] = [set() for _ in problems]
    short: dict[str, list[EvalProblem]] = defaultdict(list)
    for problem in problems:
        if problem.kind == "exact":
            short[normalised(problem.text)].append(problem)
    duplicates = _NearDuplicates(problems, near)
    rows = require_contract(train)
    for row, row_id, text, answer in tqdm(
        _problems(train), total=rows, desc=train.name, unit=" rows", disable=None, leave=False
    ):
        if row in skip:
            continue
        for problem in short.get(normalised(text), ()) if short else ():
            problem.share = 1.0
            problem.matches.append(Match(row, row_id, answer, 1.0, text))
        counts: Counter[int] = Counter()
        for shingle in shingles(text, n):
            for number in places.get(shingle, ()):
                counts[number] += 1
                seen[number].add(shingle)
        for number, count in counts.items():
            share = count / problems[number].shingles
            if share >= threshold:
                problems[number].matches.append(Match(row, row_id, answer, round(share, 4), text))
        for number, jaccard in duplicates.of(text):
            problems[number].near = max(problems[number].near, jaccard)
            if not any(match.row == row for match in problems[number].matches):
                problems[number].matches.append(Match(row, row_id, answer, round(jaccard, 4), text))
    for problem, held in zip(problems, seen, strict=True):
        if problem.kind == "shingles":
            problem.share = len(held) / problem.shingles
    return Report(problems, threshold, rows, near)


class _NearDuplicates:
    """Evaluation problems by MinHash."""

    def __init__(self, problems: list[EvalProblem], near: float) -> None:
        from rensa import RMinHashLSH

        self._near = near
        self._numbers = [numerals(problem.text) for problem in problems]
        self._runs = [shingles(problem.text, NEAR_WORDS) for problem in problems]
        self._index = RMinHashLSH(threshold=near, num_perm=PERMUTATIONS, num_bands=BANDS)
        for number, runs in enumerate(self._runs):
            if problems[number].kind == "shingles":
                self._index.insert(number, _minhash(runs))

    def of(self, text: str) -> list[tuple[int, float]]:
        """``(problem, Jaccard)`` of the problems that this text is a near duplicate of."""
        runs = shingles(text, NEAR_WORDS)
        found = []
        for number in sorted(self._index.query(_minhash(runs))) if runs else ():
            other = self._runs[number]
            jaccard = len(runs & other) / len(runs | other)
            if jaccard >= self._near and self._numbers[number] == numerals(text):
                found.append((number, jaccard))
        return found


def _minhash(runs: set[str]) -> Any:
    from rensa import RMinHash

    state = RMinHash(num_perm=PERMUTATIONS, seed=1)
    state.update(sorted(runs))
    return state


def evaluation_files(train: Path, against: list[Path]) -> list[Path]:
    """The files to compare with: a folder stands for all ``test.parquet`` below it; none given, for the folder that
    ``build`` wrote ``train`` into.

    Raises DataError when there is none.
    """
    folders = against or [train.parent.parent]
    files = [file for path in folders for file in (sorted(path.rglob("test.parquet")) if path.is_dir() else [path])]
    if not files:
        from data_prep.sources.registry import data_sets

        names = [name for name, data_set in data_sets().items() if "test" in data_set.splits and name != "arithmetic"]
        raise DataError(
            "no evaluation file (test.parquet) here",
            file=", ".join(map(str, folders)),
            remedy=f"build them: `build {' '.join(names)} --split test --out {folders[0]}`, or give --against",
        )
    return files


def write_report(report: Report, path: Path) -> None:
    """One JSON line for each contaminated problem with the training rows that match it."""
    with atomic_output(path) as stream:
        for problem in report.contaminated():
            line = asdict(problem) | {
                "file": str(problem.file),
                "share": round(problem.share, 4),
                "near": round(problem.near, 4),
            }
            stream.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


def write_clean_train(
    report: Report, train: Path, evals: list[Path], out: Path, options: dict, force: bool = False
) -> int:
    """The training file without the rows to remove; returns the number of rows written."""
    remove = report.rows_to_remove()
    recipe = derived_recipe("decontaminate", [train, *evals], options)
    refuse_other_configuration(out, recipe, force)
    keep = (row not in remove for row in range(report.train_rows))
    counts = {"read": report.train_rows, "removed": len(remove)}
    return write_dataset(out, keep_rows(train, keep), recipe, counts, contract_schema(train))


def write_clean_eval(report: Report, train: Path, file: Path, out: Path, options: dict, force: bool = False) -> int:
    """An evaluation file without its contaminated problems; returns the number of rows written."""
    contaminated = {problem.row for problem in report.contaminated(file)}
    recipe = derived_recipe("decontaminate", [file, train], options | {"side": "eval"})
    refuse_other_configuration(out, recipe, force)
    rows = require_contract(file)
    keep = (row not in contaminated for row in range(rows))
    counts = {"read": rows, "removed": len(contaminated)}
    return write_dataset(out, keep_rows(file, keep), recipe, counts, contract_schema(file))


def _index(evals: list[Path], n: int) -> tuple[list[EvalProblem], Places]:
    problems: list[EvalProblem] = []
    places: Places = defaultdict(list)
    for file in evals:
        about = _about(file)
        for (row, row_id, text, answer), (source, index) in zip(_problems(file), about, strict=True):
            found = shingles(text, n)
            for shingle in found:
                places[shingle].append(len(problems))
            kind = "shingles" if found else "exact" if normalised(text) else "none"
            problems.append(EvalProblem(file, row, row_id, text, answer, len(found), kind, source, index))
    return problems, dict(places)


def _problems(path: Path) -> Iterator[tuple[int, str, str, str]]:
    """``(row, id, problem, answer)``."""
    row = 0
    for batch in contract_batches(path, ["extra_info", "reward_model"]):
        answers = [model["ground_truth"] for model in batch["reward_model"].to_pylist()]
        for row_id, text, answer in zip(extra(batch, "id"), extra(batch, "problem"), answers, strict=True):
            yield row, row_id, text, answer
            row += 1


def _about(path: Path) -> Iterator[tuple[str, int | None]]:
    """``(data_source, index)`` of every row."""
    for batch in contract_batches(path, ["data_source", "extra_info"]):
        yield from zip(batch["data_source"].to_pylist(), extra(batch, "index"), strict=True)
