# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Builds one split of a data set: source rows -> problems -> duplicates removed -> template -> parquet."""

import hashlib
import inspect
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

import pyarrow as pa

from data_prep.dataset import DataSet, GeneratedSet, GenerateOptions, Parsed
from data_prep.digests import DigestMap, digest
from data_prep.errors import DataError
from data_prep.provenance import read_provenance, tool
from data_prep.schema import Row, record_batch
from data_prep.sources import Files, Hub, find_files
from data_prep.templates import Template, find_template
from data_prep.writer import write_dataset

logger = logging.getLogger(__name__)

BATCH = 1024
_SURROGATE = re.compile(r"[\ud800-\udfff]")
PARSING = ("answers", "arithmetic", "build", "dataset", "dedup", "readers", "schema", "sources", "templates")
"""Modules of data_prep that decide what a source row becomes."""
COUNTS = ("read", "bad_rows", "duplicate_rows", "duplicate_problems", "conflicting_problems", "dropped_conflicts")

Dedup = Literal["rows", "problems", "none"]
Conflicts = Literal["keep", "drop", "error"]
BadRows = Literal["error", "drop"]


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """Options of ``build``; None means the set's own choice."""

    source: str | None = None
    """A file, a folder or a Hugging Face name."""
    template: str | None = None
    """Name of a template, or a Jinja file."""
    dedup: Dedup | None = None
    """Which repetitions are removed."""
    conflicts: Conflicts = "keep"
    """What to do with a problem that has several answers: keep all, drop all its rows, or stop."""
    bad_rows: BadRows | None = None
    """What to do with a row that has no problem or no readable answer."""
    data_source: str | None = None
    """verl's data_source."""
    generate: GenerateOptions = field(default_factory=GenerateOptions)
    """Rows and seeds of a generated set."""
    force: bool = False
    """Build even when the output is up to date."""


@dataclass
class BuildResult:
    """What ``build_split`` did."""

    path: Path
    """The file."""
    rows: dict[str, int]
    """``COUNTS`` and ``written``."""
    up_to_date: bool = False
    """True when an existing file had been made from the same input with the same options."""


def build_split(data_set: DataSet, split: str, out: Path, options: BuildOptions) -> BuildResult:
    """Builds ``out``, or leaves it when it was made from the same input with the same options.

    Raises DataError that names file and row on bad input; ``out`` is then as it was before.
    """
    template = find_template(options.template or data_set.template)
    source = None if isinstance(data_set, GeneratedSet) else find_source(data_set, split, options.source)
    recipe: dict = {
        "tool": tool(),
        "command": "build",
        "parser": parser_digest(data_set),
        "data_set": data_set.name,
        "split": split,
        "data_source": options.data_source or data_set.data_source or data_set.name,
        "answer_rule": data_set.answer_rule,
        "columns": asdict(data_set.columns),
        "template": template.record(),
        "dedup": options.dedup or data_set.dedup,
        "conflicts": options.conflicts,
        "bad_rows": options.bad_rows or data_set.bad_rows,
        "sources": [] if source is None else source.describe(),
        "generate": asdict(options.generate) if source is None else None,
    }
    if not options.force and out.exists():
        existing = read_provenance(out)
        if existing and existing["recipe"] == json.loads(json.dumps(recipe)):
            return BuildResult(out, existing["rows"], up_to_date=True)
    builder = _Builder(data_set, split, source, template, options.generate, recipe)
    write_dataset(out, builder.batches(), recipe, builder.rows)
    return BuildResult(out, builder.rows)


def parser_digest(data_set: DataSet) -> str:
    """SHA-256 of the code that reads the set: data_prep's own, and the module of every class the set is made of."""
    state = hashlib.sha256()
    for name in PARSING:
        state.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    for kind in type(data_set).__mro__:
        if kind in (DataSet, object):
            continue
        try:
            state.update(Path(inspect.getfile(kind)).read_bytes())
        except (TypeError, OSError):  # a class that was typed in has no file
            for name, value in sorted(vars(kind).items()):
                if inspect.isfunction(value):
                    state.update(f"{name} {value.__code__.co_code.hex()} {value.__code__.co_names}".encode())
    return state.hexdigest()


def find_source(data_set: DataSet, split: str, source: str | None) -> Files | Hub:
    """The set's files below ``source``, or its Hugging Face data set."""
    if source is not None and Path(source).exists():
        return find_files(Path(source), data_set.patterns(split))
    if source is not None and (Path(source).is_absolute() or source.count("/") != 1):
        raise DataError(f"no such file or folder: {source}", remedy="check --source")
    name = source or data_set.hub
    if not name:
        raise DataError(f"data set {data_set.name!r} has no Hugging Face name", remedy="give --source PATH")
    return Hub(name, data_set.hub_config if source is None else None, data_set.splits[split])


class _Builder:
    """The pipeline of one split; ``rows`` is complete after the last batch."""

    def __init__(
        self,
        data_set: DataSet,
        split: str,
        source: Files | Hub | None,
        template: Template,
        generate: GenerateOptions,
        recipe: dict,
    ) -> None:
        self._data_set = data_set
        self._split = split
        self._source = source
        self._template = template
        self._dedup: Dedup = recipe["dedup"]
        self._conflicts: Conflicts = recipe["conflicts"]
        self._bad_rows: BadRows = recipe["bad_rows"]
        self._data_source: str = recipe["data_source"]
        self._generate = generate
        self.rows = dict.fromkeys(COUNTS, 0)

    def batches(self) -> Iterator[pa.RecordBatch]:
        with DigestMap() as conflicting:
            if self._conflicts == "drop":
                self._find_conflicts(conflicting)
                self.rows = dict.fromkeys(COUNTS, 0)
            rows = self._rows(conflicting)
            while chunk := list(islice(rows, BATCH)):
                yield record_batch(chunk)

    def _rows(self, dropped: DigestMap) -> Iterator[Row]:
        index = 0
        with DigestMap() as answers, DigestMap() as conflicting, DigestMap() as copies, DigestMap() as ids:
            for source_row, parsed in self._parsed():
                problem = digest(parsed.problem)
                if dropped.get(problem) is not None:
                    self.rows["dropped_conflicts"] += 1
                    continue
                self._note_conflict(problem, parsed, answers, conflicting, source_row)
                key = digest(parsed.problem, parsed.answer)
                copy = copies.get(key) or 0
                copies.set(key, copy + 1)
                if copy and self._dedup == "problems":
                    self.rows["duplicate_problems"] += 1
                    continue
                row = self._row(parsed, index, source_row, key.hex()[:12], copy)
                first = ids.get(digest(row.id))
                if first is not None:
                    raise DataError(
                        f"id {row.id!r} is of two different rows, here and in row {first}",
                        file=None if self._source is None else self._source.name,
                        place=f"row {source_row}",
                        remedy="map `id` to a column of distinct values, or leave it out",
                    )
                ids.set(digest(row.id), source_row)
                yield row
                index += 1

    def _row(self, parsed: Parsed, index: int, source_row: int, key: str, copy: int) -> Row:
        key = parsed.key or key
        return Row(
            data_source=self._data_source,
            messages=self._template.messages(parsed.problem, parsed.level, parsed.subject),
            ground_truth=parsed.answer,
            id=f"{self._data_set.name}/{key}" + (f".{copy + 1}" if copy else ""),
            index=index,
            split=self._split,
            problem=parsed.problem,
            source_row=source_row,
            level=parsed.level,
            subject=parsed.subject,
            ability=self._data_set.ability,
        )

    def _find_conflicts(self, conflicting: DigestMap) -> None:
        with DigestMap() as answers, DigestMap() as scratch:
            for source_row, parsed in self._parsed():
                problem = digest(parsed.problem)
                if self._note_conflict(problem, parsed, answers, scratch, source_row):
                    conflicting.set(problem, 1)

    def _note_conflict(
        self, problem: bytes, parsed: Parsed, answers: DigestMap, conflicting: DigestMap, source_row: int
    ) -> bool:
        """Whether the problem already came with another answer; the first such time it is counted and kept."""
        answer = int.from_bytes(digest(parsed.answer)[:8], "big", signed=True)
        first = answers.get(problem)
        if first is None:
            answers.set(problem, answer)
        if first is None or first == answer:
            return False
        if self._conflicts == "error":
            raise DataError(
                f"problem has several answers, here {parsed.answer!r}: {parsed.problem[:80]!r}",
                place=f"row {source_row}",
                remedy="build with --conflicts drop or --conflicts keep",
            )
        if conflicting.get(problem) is None:
            conflicting.set(problem, 1)
            self.rows["conflicting_problems"] += 1
        return True

    def _parsed(self) -> Iterator[tuple[int, Parsed]]:
        """``(source row, problem)``; ``rows`` counts what was read and what the reader left out."""
        if self._source is None:
            assert isinstance(self._data_set, GeneratedSet)
            for row, parsed in enumerate(self._data_set.generate(self._split, self._generate)):
                self.rows["read"] += 1
                yield row, parsed
            return
        for row, record in self._source.records(self._dedup != "none", self.rows):
            try:
                parsed = self._parse(record)
            except DataError as error:
                place = f"row {row}"
                if self._bad_rows == "error":
                    remedy = error.remedy or "mend the row, or leave such rows out with --bad-rows drop"
                    raise DataError(error.problem, file=self._source.name, place=place, remedy=remedy) from error
                logger.warning("left out: %s", DataError(error.problem, file=self._source.name, place=place))
                self.rows["bad_rows"] += 1
                continue
            yield row, parsed

    def _parse(self, record: dict) -> Parsed:
        try:
            parsed = self._data_set.parse(record)
        except DataError:
            raise
        except Exception as error:  # a registered set's own code
            raise DataError(
                f"{type(self._data_set).__name__}.parse raised {type(error).__name__}: {error}",
                remedy="mend parse; for a row that it cannot use it raises DataError",
            ) from error
        if not isinstance(parsed, Parsed):
            raise DataError(
                f"{type(self._data_set).__name__}.parse returned {type(parsed).__name__}", remedy="return Parsed(...)"
            )
        for name, value in vars(parsed).items():
            if isinstance(value, str) and _SURROGATE.search(value):
                raise DataError(f"{name} holds a lone surrogate, which is no text: {value[:60]!r}")
        return parsed
