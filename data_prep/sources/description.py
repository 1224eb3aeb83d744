# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A new data set without code: by options of the command line, by a YAML file, or by both (the options win)."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from data_prep.errors import DataError
from data_prep.sources.answers import ANSWER_RULES
from data_prep.sources.dataset import VERL_ANSWER, Columns, DataSet
from data_prep.sources.filters import Condition

Paths = tuple[str, ...]
_NAME = re.compile(r"[a-z0-9][a-z0-9_.\-]*")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ColumnNames(_Strict):
    """Where the columns are: a dotted path each, or a list of which the first that holds a value is taken."""

    problem: Paths = Columns().problem
    """The problem: text or chat messages."""
    answer: Paths = ("answer", *VERL_ANSWER, "solution")
    """What the answer rule reads."""
    level: Paths = Columns().level
    """Difficulty."""
    subject: Paths = Columns().subject
    """Field."""
    id: Paths = ()
    """The source's own stable id; left out: made from problem and answer."""
    system: Paths = ()
    """A system message in a column of its own."""
    images: Paths = Columns().images
    """One image or a list of them."""
    ability: Paths = ("ability",)
    """verl's ability."""
    pass_rate: Paths = Columns().pass_rate
    """A published share or count of correct responses."""

    @field_validator("*", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


class Description(_Strict):
    """A data set in words. Every key is an option of ``build`` and a key of the YAML file."""

    source: str = Field(min_length=1)
    """File, folder or Hugging Face name; in a YAML file a relative path is relative to that file."""
    name: str = ""
    """Name of the set: folder of the output and prefix of its ids; left out: made from the source."""
    columns: ColumnNames = ColumnNames()
    """Where the columns are."""
    keep: Paths = ()
    """Further columns that travel into the file."""
    filter: Paths = ()
    """Conditions on the source's columns, all of which a row must meet."""
    answer: Literal["verbatim", "integer", "gsm8k", "boxed", "math", "list"] = "math"
    """Answer rule."""
    template: str = "dapo"
    """Prompt template, by name or as a .jinja file."""
    split: Literal["train", "test"] = "train"
    """Split that the file becomes."""
    source_split: str = ""
    """Split of a folder or a Hugging Face name that is read; left out: the same as ``split``."""
    subset: str | None = None
    """Configuration of a Hugging Face data set that has several."""
    revision: str | None = None
    """Commit, tag or branch of a Hugging Face data set."""
    data_source: str = ""
    """verl's data_source; left out: the name."""
    ability: str = "math"
    """verl's ability, where no column states it."""
    pass_rate_of: int = Field(default=1, ge=1)
    """What the pass-rate column is divided by: 16 for counts out of 16."""
    pass_rate_counts: Literal["correct", "wrong"] = "correct"
    """Whether the pass-rate column counts right or wrong responses."""
    dedup: Literal["rows", "problems", "none"] = "rows"
    """Repetitions to remove."""
    conflicts: Literal["keep", "drop", "error"] = "keep"
    """Problems with several answers."""
    bad_rows: Literal["error", "drop"] = "error"
    """Rows without problem or readable answer."""
    licence: str = ""
    """Licence of the source."""

    @field_validator("keep", "filter", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value

    def data_set(self) -> DataSet:
        """The set that is described."""
        name = self.name or _name_of(self.source)
        if not _NAME.fullmatch(name):
            raise DataError(f"name {name!r} is no folder name", remedy="use lower-case letters, digits, _ - and .")
        source_split = self.source_split or self.split
        return DataSet(
            name=name,
            title=name,
            hub_config=self.subset,
            revision=self.revision,
            licence=self.licence,
            splits={self.split: source_split},
            columns=Columns(**self.columns.model_dump()),
            keep=self.keep,
            named=_named({name: getattr(self.columns, name) for name in self.columns.model_fields_set}),
            filters=tuple(Condition.parse(text) for text in self.filter),
            answer_rule=self.answer,
            pass_rate_of=self.pass_rate_of,
            pass_rate_counts=self.pass_rate_counts,
            data_source=self.data_source,
            ability=self.ability,
            template=self.template,
            dedup=self.dedup,
            bad_rows=self.bad_rows,
        )


def describe(options: Mapping[str, Any], config: Path | None = None) -> Description:
    """A description from the YAML file ``config``, where one is given, and from options, which win.

    Raises DataError on unknown keys and wrong values, naming the field and the remedy.
    """
    values = {} if config is None else _load(config)
    columns = values.get("columns") or {}
    if isinstance(columns, Mapping):
        columns = {**columns, **options.get("columns", {})}
    if config is not None and "source" not in options and isinstance(values.get("source"), str):
        beside = config.parent / values["source"]
        values["source"] = str(beside) if beside.exists() else values["source"]
    try:
        return Description.model_validate({**values, **options, "columns": columns})
    except ValidationError as error:
        raise _explained(error, config) from error


def changed(data_set: DataSet, options: Mapping[str, Any]) -> DataSet:
    """A registered set with the options that were given in place of its own."""
    columns = {name: (value,) if isinstance(value, str) else tuple(value) for name, value in options["columns"].items()}
    names = {
        "answer": "answer_rule",
        "subset": "hub_config",
        **dict.fromkeys(("keep", "revision", "ability", "pass_rate_of", "pass_rate_counts", "licence")),
    }
    given = {new or name: options[name] for name, new in names.items() if name in options}
    filters = tuple(Condition.parse(text) for text in options.get("filter", ()))
    return replace(
        data_set,
        columns=replace(data_set.columns, **columns),
        named=(*data_set.named, *_named(columns)),
        filters=(*data_set.filters, *filters),
        **given,
    )


def _named(columns: Mapping[str, Paths]) -> tuple[Paths, ...]:
    """Those that must occur; a row without problem or answer is an error of its own."""
    return tuple(columns[name] for name in sorted(columns) if name not in ("problem", "answer"))


def _load(path: Path) -> dict:
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError("no such file", file=path, remedy="check --config") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DataError(f"cannot read the YAML: {error}", file=path, remedy="mend the file") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise DataError("not a YAML mapping", file=path, remedy="write lines of the form `source: my_file.jsonl`")
    return values


def _explained(error: ValidationError, path: Path | None) -> DataError:
    """The first complaint of pydantic, with the field and what to write instead."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if not isinstance(part, int)]
    name = ".".join(place)
    known = sorted((ColumnNames if place[0] == "columns" else Description).model_fields)
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(place[-1], known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        return DataError(f"unknown key {name}", file=path, remedy=f"{hint}valid keys: {', '.join(known)}")
    if first["type"] == "missing":
        return DataError(f"{name} is missing", file=path, remedy=f"write `{name}: ...`, or give --{name}")
    if first["type"] == "literal_error":
        return DataError(f"{name} is {first['input']!r:.60}", file=path, remedy=f"use {first['ctx']['expected']}")
    return DataError(f"{name} is {first['input']!r:.60}", file=path, remedy=first["msg"][0].lower() + first["msg"][1:])


def _name_of(source: str) -> str:
    """A name from a file or Hugging Face name: ``data/My Quiz.jsonl.gz`` gives ``my_quiz``."""
    stem = Path(source.rstrip("/")).name.split(".")[0]
    return re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")


assert set(Description.model_fields["answer"].annotation.__args__) == set(ANSWER_RULES)  # type: ignore[union-attr]
