# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Builds one split of a data set: source rows -> filters -> problems -> duplicates removed -> template -> parquet."""

import hashlib
import inspect
import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Literal

import pyarrow as pa

from data_prep import contract, sources
from data_prep.contract import EXTRA_INFO_FIELDS, SCHEMA, Row, fitted, joined_schema, record_batch
from data_prep.errors import DataError
from data_prep.operations.conflicts import Conflicts as Conflicting
from data_prep.operations.conflicts import problem_key
from data_prep.sources.dataset import DataSet, GeneratedSet, GenerateOptions, Parsed, destination
from data_prep.sources.filters import value_at
from data_prep.sources.named import NamedColumns
from data_prep.sources.places import Hub, Place, find_place
from data_prep.sources.readers import format_of
from data_prep.sources.templates import Template, find_template
from data_prep.storage.digests import DigestMap, digest
from data_prep.storage.provenance import provenance_or_none, refuse_other_configuration, tool
from data_prep.storage.spool import spooled
from data_prep.storage.writer import write_dataset

logger = logging.getLogger(__name__)

BATCH = 1024
_SURROGATE = re.compile(r"[\ud800-\udfff]")
COUNTS = (
    "read",
    "duplicate_rows",
    "filtered",
    "bad_rows",
    "duplicate_problems",
    "conflicting_problems",
    "dropped_conflicts",
)

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
    conflicts: Conflicts | None = None
    """What to do with a problem that has several answers: keep all (None too), drop all its rows, or stop."""
    bad_rows: BadRows | None = None
    """What to do with a row that has no problem or no readable answer."""
    data_source: str | None = None
    """verl's data_source."""
    generate: GenerateOptions = field(default_factory=GenerateOptions)
    """Rows and seeds of a generated set."""
    force: bool = False
    """Build even when the output is up to date or of another configuration."""


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
    _refuse_names_in_use(data_set.keep)
    template = find_template(options.template or data_set.template)
    place = None if isinstance(data_set, GeneratedSet) else place_of(data_set, split, options.source)
    recipe: dict = {
        "tool": tool(),
        "command": "build",
        "parser": parser_digest(data_set),
        "data_set": data_set.name,
        "licence": data_set.licence,
        "split": split,
        "data_source": options.data_source or data_set.data_source or data_set.name,
        "answer_rule": data_set.answer_rule,
        "columns": asdict(data_set.columns),
        "keep": data_set.keep,
        "filters": [str(condition) for condition in data_set.filters],
        "pass_rate": [data_set.pass_rate_of, data_set.pass_rate_counts],
        "ability": data_set.ability,
        "template": template.record(),
        "dedup": options.dedup or data_set.dedup,
        "conflicts": options.conflicts or "keep",
        "bad_rows": options.bad_rows or data_set.bad_rows,
        "sources": [] if place is None else place.describe(),
        "generate": asdict(options.generate) if place is None else None,
    }
    if not options.force and out.exists():
        existing = provenance_or_none(out)
        if existing and existing["recipe"] == json.loads(json.dumps(recipe)):
            return BuildResult(out, existing["rows"], up_to_date=True)
    refuse_other_configuration(out, recipe, options.force)
    builder = _Builder(data_set, split, place, template, options.generate, recipe)
    with spooled(builder.batches()) as (schemas, batches):
        schema = joined_schema(schemas, builder.place_name)
        write_dataset(out, (fitted(batch, schema) for batch in batches), recipe, builder.rows, schema)
    return BuildResult(out, builder.rows)


def _refuse_names_in_use(keep: Sequence[str]) -> None:
    """Raises DataError for a kept column that would replace one of the contract or another kept one."""
    taken: dict[str, str] = {}
    for path in keep:
        name = destination(path)
        last = path.rpartition(".")[2]
        if last in (EXTRA_INFO_FIELDS if path.startswith("extra_info.") else SCHEMA.names):
            raise DataError(f"column {path!r} cannot be kept beside the contract's own {last}", remedy="rename it")
        if taken.setdefault(name, path) != path:
            raise DataError(
                f"columns {taken[name]!r} and {path!r} would both be kept as {name!r}",
                remedy="rename one in the source, or keep one with --keep",
            )


def parser_digest(data_set: DataSet) -> str:
    """SHA-256 of the code that reads the set: data_prep's own, and the module of every class the set is made of."""
    state = hashlib.sha256()
    own = sorted(Path(sources.__file__).parent.glob("*.py"))
    for path in [*own, Path(contract.__file__), Path(__file__)]:
        state.update(path.read_bytes())
    for module in data_set.code():
        spec = find_spec(module)
        if spec is not None and spec.origin is not None:
            state.update(Path(spec.origin).read_bytes())
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


def place_of(data_set: DataSet, split: str, source: str | None) -> Place:
    """The set's files below ``source``, or its Hugging Face data set."""
    if source is not None and Path(source).exists():
        _refuse_file_of_another_split(data_set, split, Path(source))
        return find_place(Path(source), data_set.patterns(split), data_set.splits[split], data_set.hub_config)
    if source is not None and not _may_be_a_hub_name(source):
        raise DataError(f"no such file or folder: {source}", remedy="check --source")
    name = source or data_set.hub
    if not name:
        raise DataError(f"data set {data_set.name!r} has no Hugging Face name", remedy="give --source PATH")
    config = data_set.hub_config if source in (None, data_set.hub) or not data_set.hub else None
    return Hub(name, config, data_set.splits[split], data_set.revision)


def _may_be_a_hub_name(source: str) -> bool:
    """``OWNER/NAME``, and not like a path."""
    return source.count("/") == 1 and not source.startswith(("/", ".", "~")) and format_of(Path(source)) is None


def _refuse_file_of_another_split(data_set: DataSet, split: str, source: Path) -> None:
    """Raises DataError for a file that is named like another split of the set: ``train.jsonl`` is no test set."""
    if len(data_set.splits) < 2 or not source.is_file():
        return
    named = [name for name in data_set.splits if any(fnmatch(source.name.lower(), p) for p in data_set.patterns(name))]
    if named and split not in named:
        raise DataError(
            f"the file is named like {' and '.join(named)}, not {split}, of {data_set.name!r}",
            file=source,
            remedy=f"give the {split} file, or --split {named[0]}; a file of another name is taken as it is",
        )


class _Builder:
    """The pipeline of one split; ``rows`` is complete after the last batch."""

    def __init__(
        self,
        data_set: DataSet,
        split: str,
        place: Place | None,
        template: Template,
        generate: GenerateOptions,
        recipe: dict,
    ) -> None:
        self._data_set = data_set
        self._split = split
        self._place = place
        self.place_name = data_set.name if place is None else place.name
        self._template = template
        self._dedup: Dedup = recipe["dedup"]
        self._conflicts: Conflicts = recipe["conflicts"]
        self._bad_rows: BadRows = recipe["bad_rows"]
        self._data_source: str = recipe["data_source"]
        self._filters = data_set.filters
        self._generate = generate
        self.rows = dict.fromkeys(COUNTS, 0)

    def batches(self) -> Iterator[pa.RecordBatch]:
        with Conflicting() as all_of_them:
            if self._conflicts == "drop":
                for _, parsed in self._parsed():
                    all_of_them.add(digest(*problem_key(parsed.problem, parsed.context)), parsed.answer)
                self.rows = dict.fromkeys(COUNTS, 0)
            rows = self._rows(all_of_them)
            while chunk := list(islice(rows, BATCH)):
                yield record_batch(chunk)

    def _rows(self, dropped: Conflicting) -> Iterator[Row]:
        index = 0
        with Conflicting() as conflicts, DigestMap() as copies, DigestMap() as ids:
            for source_row, parsed in self._parsed():
                identity = problem_key(parsed.problem, parsed.context)
                problem = digest(*identity)
                if dropped.has(problem):
                    self.rows["dropped_conflicts"] += 1
                    continue
                if conflicts.add(problem, parsed.answer) and self._conflicts == "error":
                    raise DataError(
                        f"problem has several answers, here {parsed.answer!r}: {parsed.problem[:80]!r}",
                        file=self.place_name,
                        place=f"row {source_row}",
                        remedy="build with --conflicts drop or --conflicts keep",
                    )
                self.rows["conflicting_problems"] = conflicts.count
                key = digest(*identity, parsed.answer)
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
                        file=self.place_name,
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
            messages=self._template.messages(parsed.problem, parsed.level, parsed.subject, parsed.context),
            ground_truth=parsed.answer,
            id=f"{self._data_set.name}/{key}" + (f".{copy + 1}" if copy else ""),
            index=index,
            split=self._split,
            problem=parsed.problem,
            source_row=source_row,
            level=parsed.level,
            subject=parsed.subject,
            ability=parsed.ability or self._data_set.ability,
            pass_rate=parsed.pass_rate,
            columns=parsed.columns,
            extra_info=parsed.extra_info,
        )

    def _parsed(self) -> Iterator[tuple[int, Parsed]]:
        """``(source row, problem)``; ``rows`` counts what was read and what the reader left out."""
        if self._place is None:
            assert isinstance(self._data_set, GeneratedSet)
            for row, parsed in enumerate(self._data_set.generate(self._split, self._generate)):
                self.rows["read"] += 1
                yield row, parsed
            return
        keep = ((path,) for path in self._data_set.keep)
        filtered = ((condition.column,) for condition in self._filters)
        named = NamedColumns([*self._data_set.named, *keep, *filtered])
        for row, record in self._place.records(self._dedup != "none", self.rows):
            named.meet(record)
            try:
                if not all(condition.holds(value_at(record, condition.column)) for condition in self._filters):
                    self.rows["filtered"] += 1
                    continue
                parsed = self._parse(record)
            except DataError as error:
                place = f"row {row}"
                if self._bad_rows == "error":
                    remedy = error.remedy or "mend the row, or leave such rows out with --bad-rows drop"
                    raise DataError(error.problem, file=self.place_name, place=place, remedy=remedy) from error
                logger.warning("left out: %s", DataError(error.problem, file=self.place_name, place=place))
                self.rows["bad_rows"] += 1
                continue
            yield row, parsed
        named.require(self.place_name)

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
