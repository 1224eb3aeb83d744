# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A data set described by a short YAML file."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml

from data_prep.build import BuildOptions, BuildResult, build_split
from data_prep.dataset import Columns, DataSet
from data_prep.errors import DataError

CHOICES = {
    "dedup": ("rows", "problems", "none"),
    "conflicts": ("keep", "drop", "error"),
    "bad_rows": ("error", "drop"),
}


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """The YAML file. ``columns`` maps problem, answer, level, subject, id to a dotted path or a list of them."""

    name: str
    """Name of the set; the prefix of its ids."""
    source: str
    """File, folder or Hugging Face name; a relative path is relative to the YAML file."""
    columns: dict = field(default_factory=dict)
    """Where problem, answer, level, subject and id are; what is left out has the usual names."""
    answer: str = "math"
    """Answer rule."""
    template: str = "dapo"
    """Prompt template, by name or as a .jinja file."""
    split: str = "train"
    """Split name written to the file."""
    hub_split: str = "train"
    """Split name on the Hub, for a Hugging Face source."""
    data_source: str = ""
    """verl's data_source; empty: the name."""
    dedup: str = "rows"
    """Repetitions to remove: rows, problems or none."""
    conflicts: str = "keep"
    """Problems with several answers: keep, drop or error."""
    bad_rows: str = "error"
    """Rows without problem or readable answer: error or drop."""

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise DataError(f"{name}: {getattr(self, name)!r}", remedy=f"choose one of {', '.join(choices)}")


def load_config(path: Path) -> ConvertConfig:
    """Reads a YAML file; raises DataError on unknown keys, listing the valid ones."""
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DataError(f"cannot read the YAML: {error}", file=path, remedy="mend the file") from error
    if not isinstance(values, dict):
        raise DataError("not a YAML mapping", file=path, remedy="write lines of the form `name: my_set`")
    known = {item.name for item in fields(ConvertConfig)}
    _reject_unknown(values, known, "keys", path)
    for name in ("name", "source"):
        if not isinstance(values.get(name), str):
            raise DataError(f"{name} is missing", file=path, remedy=f"write `{name}: ...`")
    columns = values.get("columns") or {}
    if not isinstance(columns, dict):
        raise DataError("columns is not a mapping", file=path, remedy="write `columns: {problem: NAME, answer: NAME}`")
    _reject_unknown(columns, {item.name for item in fields(Columns)}, "columns", path)
    for name, value in values.items():
        if name != "columns" and not isinstance(value, str):
            raise DataError(f"{name} is {value!r:.60}, not text", file=path, remedy=f'write `{name}: "TEXT"`')
    for name, value in columns.items():
        paths = value if isinstance(value, list) else [value]
        if not paths or not all(isinstance(item, str) for item in paths):
            raise DataError(
                f"columns.{name} is {value!r:.60}, not a dotted path or a list of them",
                file=path,
                remedy=f"write `{name}: NAME`",
            )
    try:
        return ConvertConfig(**values | {"columns": columns})
    except DataError as error:
        raise DataError(error.problem, file=path, remedy=error.remedy) from error


def convert(config_path: Path, out: Path, force: bool = False) -> BuildResult:
    """Builds the data set of a YAML file into ``out``."""
    config = load_config(config_path)
    beside = config_path.parent / config.source
    data_set = DataSet(
        name=config.name,
        title=config.name,
        splits={config.split: config.hub_split},
        files={config.split: ("*",)},
        columns=Columns(**{name: _paths(value) for name, value in config.columns.items()}),
        answer_rule=config.answer,
        data_source=config.data_source,
        template=config.template,
        dedup=config.dedup,
        bad_rows=config.bad_rows,
    )
    options = BuildOptions(
        source=str(beside) if beside.exists() else config.source,
        conflicts=config.conflicts,  # type: ignore[arg-type]  # validated by ConvertConfig
        force=force,
    )
    return build_split(data_set, config.split, out, options)


def _reject_unknown(values: Mapping, known: set[str], what: str, path: Path) -> None:
    unknown = sorted(set(map(str, values)) - known)
    if unknown:
        raise DataError(
            f"unknown {what} {', '.join(unknown)}", file=path, remedy=f"valid {what}: {', '.join(sorted(known))}"
        )


def _paths(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
