# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The contract: what every file that data_prep writes looks like, and how such files are read back.

The columns of ``SCHEMA`` are the same everywhere, so that any list of files concatenates. A file may have more:
columns beside them (``images``, anything of your own) and fields in ``extra_info`` (``tools_kwargs``,
``interaction_kwargs``); commands carry them along.

verl reads such a file with ``verl/utils/dataset/rl_dataset.py`` (RLHFDataset): ``prompt`` is handed to the chat
template, ``images``, ``videos`` and ``audios`` fill its placeholders, ``extra_info.tools_kwargs`` and
``interaction_kwargs`` go to the agent loop, ``data_source`` groups validation metrics and selects verl's default
scorer, and all columns reach the reward function as they are.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.errors import DataError
from data_prep.storage.parquet import open_parquet, parquet_batches
from data_prep.storage.provenance import describe_input, tool

SCHEMA = pa.schema(
    [
        pa.field("data_source", pa.string(), nullable=False),
        pa.field(
            "prompt",
            pa.list_(pa.field("element", pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())]))),
            nullable=False,
        ),
        pa.field("ability", pa.string(), nullable=False),
        pa.field(
            "reward_model",
            pa.struct([pa.field("style", pa.string()), pa.field("ground_truth", pa.string())]),
            nullable=False,
        ),
        pa.field(
            "extra_info",
            pa.struct(
                [
                    pa.field("id", pa.string()),
                    pa.field("index", pa.int64()),
                    pa.field("split", pa.string()),
                    pa.field("level", pa.string()),
                    pa.field("subject", pa.string()),
                    pa.field("source_row", pa.int64()),
                    pa.field("problem", pa.string()),
                    pa.field("pass_rate", pa.float64()),
                ]
            ),
            nullable=False,
        ),
    ]
)
"""Columns of the contract.

- ``data_source``: name of the set, for example ``aime_2024``.
- ``prompt``: chat messages ``[{role, content}]``, template applied.
- ``ability``: ``math``, or what the set says.
- ``reward_model``: ``style`` is ``rule``; ``ground_truth`` is the normalised answer.
- ``extra_info.id``: unique in the file and the same in every build of the set (``dapo_math_17k/9a9b6eb4-...``).
- ``extra_info.index``: position in the file that ``build`` wrote.
- ``extra_info.split``: ``train`` or ``test``.
- ``extra_info.level``, ``subject``: as the source states them, null where it does not.
- ``extra_info.source_row``: row of the source file, from 0.
- ``extra_info.problem``: the problem without any template.
- ``extra_info.pass_rate``: measured share of correct responses, null until ``select --verdicts`` fills it in.
"""

STYLE = "rule"
REQUIRED = ("data_source", "prompt", "reward_model.ground_truth", "extra_info.id", "extra_info.problem")
"""What no row may lack, besides the content of its messages."""
EXTRA_INFO_FIELDS = tuple(field.name for field in SCHEMA.field("extra_info").type)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a file, before it becomes Arrow."""

    data_source: str
    """Name of the set."""
    messages: list[dict[str, str]]
    """Chat messages, template applied."""
    ground_truth: str
    """Normalised answer."""
    id: str
    """Unique in the file."""
    index: int
    """Position in the file."""
    split: str
    """``train`` or ``test``."""
    problem: str
    """The problem without template."""
    source_row: int
    """Row of the source file, from 0."""
    level: str | None = None
    """Difficulty as the source states it."""
    subject: str | None = None
    """Field of mathematics as the source states it."""
    ability: str = "math"
    """verl's ``ability`` column."""
    pass_rate: float | None = None
    """Share of correct responses that was published with the set."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Further columns."""
    extra_info: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of ``extra_info``."""


def record_batch(rows: Iterable[Row]) -> pa.RecordBatch:
    """Rows as one Arrow batch of ``SCHEMA`` and their further columns, the types of which are inferred.

    Raises DataError when a further column holds values that no one type fits.
    """
    rows = list(rows)
    records = [
        {
            "data_source": row.data_source,
            "prompt": row.messages,
            "ability": row.ability,
            "reward_model": {"style": STYLE, "ground_truth": row.ground_truth},
            "extra_info": {
                "id": row.id,
                "index": row.index,
                "split": row.split,
                "level": row.level,
                "subject": row.subject,
                "source_row": row.source_row,
                "problem": row.problem,
                "pass_rate": row.pass_rate,
            },
        }
        for row in rows
    ]
    batch = pa.RecordBatch.from_pylist(records, schema=SCHEMA)
    for name in dict.fromkeys(name for row in rows for name in row.columns):
        batch = batch.append_column(name, _inferred(name, [row.columns.get(name) for row in rows]))
    for name in dict.fromkeys(name for row in rows for name in row.extra_info):
        batch = with_extra_info(batch, name, _inferred(name, [row.extra_info.get(name) for row in rows]))
    return batch


def _inferred(name: str, values: list) -> pa.Array:
    try:
        return pa.array([_without_empty_structs(value) for value in values])
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(
            f"column {name!r} holds values of several types: {str(error).splitlines()[0]:.120}",
            remedy="write them as text, or leave the column out",
        ) from error


def _without_empty_structs(value: Any) -> Any:
    """Parquet has no struct without fields: ``{}`` becomes null."""
    if isinstance(value, Mapping):
        return {name: _without_empty_structs(item) for name, item in value.items()} or None
    return [_without_empty_structs(item) for item in value] if isinstance(value, list) else value


def with_extra_info(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    """The batch with one field of ``extra_info`` set or added."""
    column = batch["extra_info"]
    fields = {item.name: pc.struct_field(column, item.name) for item in column.type} | {name: values}
    filled = pa.StructArray.from_arrays(
        list(fields.values()), fields=[pa.field(key, value.type) for key, value in fields.items()]
    )
    position = batch.schema.get_field_index("extra_info")
    return batch.set_column(position, pa.field("extra_info", filled.type, nullable=False), filled)


def joined_schema(schemas: Iterable[pa.Schema], where: str) -> pa.Schema:
    """One schema that all files or batches fit: columns and struct fields of all, integers widened to floats.

    Raises DataError when two of them have one name with types that do not join.
    """
    try:
        return pa.unify_schemas(
            [SCHEMA, *(schema.remove_metadata() for schema in schemas)], promote_options="permissive"
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(
            f"columns of one name have types that do not join: {str(error).split(':')[-1].strip():.160}",
            file=where,
            remedy="write the values as one type, or build without the column",
        ) from error


def fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch in a schema that ``joined_schema`` made for it; what it lacks is null."""
    columns = []
    for item in schema:
        if item.name not in batch.schema.names:
            columns.append(pa.nulls(len(batch), item.type))
        elif batch[item.name].type == item.type:
            columns.append(batch[item.name])
        else:  # pyarrow's cast of a list of structs with an all-null field makes invalid arrays
            columns.append(pa.array(batch[item.name].to_pylist(), item.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def schema_difference(schema: pa.Schema) -> str | None:
    """What keeps ``schema`` from being the contract, or None when it is the contract; more columns are fine."""
    for item in SCHEMA:
        position = schema.get_field_index(item.name)
        if position < 0:
            return f"column {item.name!r} is missing"
        found = schema.field(position).type
        if item.name == "extra_info" and pa.types.is_struct(found):
            for inner in item.type:
                at = found.get_field_index(inner.name)
                if at < 0:
                    return f"field extra_info.{inner.name} is missing"
                if found.field(at).type != inner.type:
                    return f"extra_info.{inner.name} is {found.field(at).type}, the contract says {inner.type}"
        elif found != item.type:
            return f"column {item.name!r} is {found}, the contract says {item.type}"
    return None


def contract_batches(path: Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Batches of a file of the contract; raises DataError when it is none, or a field that has to be there is null."""
    require_contract(path)
    row = 0
    for batch in parquet_batches(path, columns):
        for name, values in _required_values(batch):
            if values.null_count:
                raise DataError(
                    f"{name} is null",
                    file=path,
                    place=f"row {row + pc.index(pc.is_null(values), True).as_py()}",
                    remedy="fill it in, or build the file again; `check FILE` counts such rows",
                )
        row += len(batch)
        yield batch


def _required_values(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.Array]]:
    """The fields that are filled in every row of the contract, as far as they were read: one value a row."""
    for name in REQUIRED:
        top, _, inner = name.partition(".")
        if top in batch.schema.names:
            yield name, pc.struct_field(batch[top], inner) if inner else batch[top]
    if "prompt" in batch.schema.names:
        contents = pc.struct_field(pc.list_flatten(batch["prompt"]), "content")
        of_row = pc.list_parent_indices(batch["prompt"])
        null = np.zeros(len(batch), dtype=bool)
        null[of_row.filter(pc.is_null(contents)).to_numpy()] = True
        yield "prompt.content", pa.array(~null, mask=null)


def require_contract(path: Path) -> int:
    """Number of rows of a file; raises DataError when its schema is not the contract."""
    file = open_parquet(path)
    difference = schema_difference(file.schema_arrow)
    if difference:
        raise DataError(
            f"not a file of the contract: {difference}",
            file=path,
            remedy="make it with `build --source FILE --problem COLUMN --answer COLUMN`",
        )
    return file.metadata.num_rows


def contract_schema(path: Path) -> pa.Schema:
    """Schema of a file of the contract, its further columns included."""
    return open_parquet(path).schema_arrow.remove_metadata()


def extra(batch: pa.RecordBatch, name: str) -> list:
    """One field of ``extra_info`` as Python values."""
    return pc.struct_field(batch["extra_info"], name).to_pylist()


def keep_rows(path: Path, keep: Iterable[bool]) -> Iterator[pa.RecordBatch]:
    """The rows of a file for which ``keep`` says so."""
    flags = iter(keep)
    for batch in contract_batches(path):
        mask = [next(flags) for _ in range(len(batch))]
        yield batch.filter(pa.array(mask, pa.bool_()))


def derived_recipe(command: str, inputs: list[Path], options: dict) -> dict:
    """Recipe of a file made from files of the contract."""
    return {
        "tool": tool(),
        "command": command,
        "inputs": [describe_input(path) for path in inputs],
        "options": options,
    }
